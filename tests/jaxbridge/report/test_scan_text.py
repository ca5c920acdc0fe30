"""What a person is told about a scan, and that the picture holds up without colour."""

import dataclasses

import numpy as np
import pytest

from jaxbridge.report.scan_figure import scan_figure
from jaxbridge.report.scan_text import advice, conclusion, ranges
from jaxbridge.selection.bootstrap import Stability
from jaxbridge.selection.scanner import Scan
from jaxbridge.selection.two_stage import Selection


def table(value, best, width=0.02):
    """Scores within `width`; only the best entry is not tied away."""
    value = np.asarray(value, float)
    tied = np.zeros(value.shape, bool)
    tied[best] = True
    return Stability(value, value - width, value + width, tied.astype(float), tied)


@pytest.fixture
def clear():
    probe, cka = [0.6, 0.7, 0.9], np.array([[0.1, 0.2], [0.2, 0.3], [0.3, 0.8]])
    selection = Selection(2, 1, "macro_f1", np.array(probe)[:, None], cka, cka - 0.05)
    chosen = np.zeros((3, 2))
    chosen[2, 1] = 1.0
    return Scan(
        selection, table(probe, 2), table(cka, (2, 1)), table(cka[2], 1), table(cka / 2, (2, 1)),
        chosen, 0.5, 14,
    )


def with_(scan, **changes):
    """Changes fields of the tables: with_(scan, probe={"tied": ...})."""
    return dataclasses.replace(scan, **{
        name: dataclasses.replace(getattr(scan, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    })


def test_a_clear_choice_needs_no_advice(clear):
    assert advice(clear) == []
    assert conclusion(clear).splitlines() == [
        "Choice: output of new layer 2 into the input of old layer 1 (--position=2,1); 100% of the "
        "draws agree.",
        "  new layer 2: macro_f1 0.90 (0.88 to 0.92), chance 0.50; 0.200 ahead of new layer 1, best "
        "in 100% of the draws",
        "  old layer 1: CKA 0.80 (0.78 to 0.82), debiased 0.75; 0.500 ahead of old layer 0, best in "
        "100% of the draws",
    ]


def test_ties_are_named_with_positions_to_try(clear):
    tied = with_(clear, probe={"tied": np.ones(3, bool)}, row={"tied": np.ones(2, bool)})
    new, old = advice(tied)
    assert "new layers 0-2 cannot be told apart" in new
    assert "--position=0,1 or --position=1,1." in new
    assert "old layers 0, 1 are equally similar" in old and "--position=2,0." in old


def test_chance_is_a_warning(clear):
    assert "above chance" in advice(with_(clear, probe={"low": np.array([0.4, 0.4, 0.5])}))[0]


def test_another_best_of_the_joint_map_is_told(clear):
    value = clear.joint.value.copy()
    value[0, 0] = 0.9
    tied = value == 0.9
    (line,) = advice(with_(clear, joint={"value": value, "tied": tied}))
    assert "best at another position, 0,0" in line
    assert not advice(with_(clear, joint={"value": value - 1, "tied": tied}))


def test_no_negative_zero(clear):
    low = np.array([[0.1, 0.2], [0.2, 0.3], [0.3, -0.001]])
    assert "CKA 0.80 (0.00 to 0.82)" in conclusion(with_(clear, cka={"low": low}))


@pytest.mark.parametrize(("subjects", "word"), [
    (None, "blocks of windows, not from subjects"), (4, "Only 4 subjects"),
])
def test_few_or_no_subjects(clear, subjects, word):
    (line,) = advice(with_(clear, subjects=subjects))
    assert word in line
    # None stands for one known subject, and for folds by window that were asked for, too.
    assert "not known" not in line


@pytest.mark.parametrize(
    ("layers", "text"),
    [([3], "3"), ([0, 2, 3, 4], "0, 2-4"), ([1, 2], "1, 2"), ([0, 1, 2, 7, 9, 10], "0-2, 7, 9, 10")],
)
def test_ranges(layers, text):
    assert ranges(layers) == text


def test_figure_says_in_words_what_is_what(clear):
    figure = scan_figure(clear, new="HuBERT-ECG", old="LaBraM")
    curve, cka, joint = figure.axes[:3]
    assert curve.get_xlabel() == "output of new layer (HuBERT-ECG)"
    assert cka.get_xlabel() == joint.get_xlabel() == "input of old layer (LaBraM)"
    assert "chance" in [text.get_text() for text in curve.get_legend().get_texts()]
    assert len(cka.patches) == 1
    assert cka.patches[0].get_xy() == (0.5, 1.5)  # frames old layer 1, new layer 2
    assert len(joint.patches) == 1  # best and chosen are the same


def test_figure_frames_the_joint_best_apart_and_marks_ties(clear):
    value = clear.joint.value.copy()
    value[0, 0] = 0.9
    figure = scan_figure(
        with_(clear, joint={"value": value, "tied": value == 0.9}, row={"tied": np.ones(2, bool)})
    )
    assert len(figure.axes[2].patches) == 2
    assert [text.get_text() for text in figure.axes[1].texts] == [
        "0.10", "0.20", "0.20", "0.30", "0.30*", "0.80*"
    ]


def test_cells_of_the_map_grow_lighter_with_the_score(clear):
    """Read in grey, a higher score is lighter."""
    figure = scan_figure(clear)
    image = figure.axes[1].images[0]
    red, green, blue, _ = image.cmap(np.linspace(0, 1, 50)).T
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert (np.diff(luminance) > 0).all()
