"""Example windows keep their time, their peaks and their kind, whatever an encoder reads."""

import numpy as np
import pytest

from jaxbridge.report.page.drawing import svg
from jaxbridge.report.run.figures import num_leads_shown, window_figure


def _lines(figure):
    return [axes.lines[0].get_xydata() for axes in figure.axes if axes.lines]


def test_seconds_of_both_signals_agree_and_no_peak_is_lost():
    rng = np.random.default_rng(0)
    eeg, ppg = rng.standard_normal((2, 60, 200)), rng.standard_normal((1, 7500))
    eeg[1, 30, 7] = 40
    figure = window_figure([
        ("EEG", eeg, 200.0, "100 uV", ("O1", "O2")), ("PPG", ppg, 125.0, "z-score", ("PPG",)),
    ])
    lines = _lines(figure)
    assert len(lines) == 3
    for line in lines:
        assert len(line) < 1500 and (np.diff(line[:, 0]) > 0).all()
        assert 59.8 < line[-1, 0] <= 60
    assert tuple(lines[1][lines[1][:, 1].argmax()]) == pytest.approx((30 + 7 / 200, 40))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["EEG, O1", "EEG, O2", "PPG"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim() != figure.axes[2].get_ylim()
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, 60.0)}
    assert figure.axes[-1].get_xlabel() == "time in the window (s)"


def test_short_windows_are_drawn_sample_by_sample():
    signal = np.arange(600.0)
    line, = _lines(window_figure([("ECG", signal, 100.0, "mV", ())]))
    np.testing.assert_allclose(line, np.stack([np.arange(600) / 100, signal], axis=1))


def test_four_of_twelve_leads_are_drawn():
    window = np.random.default_rng(0).standard_normal((12, 500))
    assert num_leads_shown(window) == (4, 12)
    figure = window_figure([("ECG", window, 500.0, "mV", ())])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"ECG, lead {i}" for i in (1, 2, 3, 4)
    ]


def test_a_picture_is_shown_as_one():
    figure = window_figure([
        ("ECG", np.random.default_rng(0).random((3, 16, 16)), 1.0, "picture", ()),
        ("EMG", np.zeros(100), 100.0, "mV", ()),
    ])
    assert len(figure.axes[0].images) == 1 and len(_lines(figure)) == 1
    assert "<image" in svg(figure, "x", "a picture")


def test_an_unknown_rate_draws_over_the_share_of_the_window():
    short, long = np.sin(np.arange(50.0)), np.sin(np.arange(200.0))
    figure = window_figure([("PPG", short, 0.0, "", ()), ("ECG", long, 500.0, "mV", ())])
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 1), (0, 1)]
    assert figure.axes[-1].get_xlabel() == "share of the window"
    for line, trace in zip(_lines(figure), (short, long), strict=True):
        np.testing.assert_allclose(line[:, 0], np.arange(len(trace)) / len(trace))
