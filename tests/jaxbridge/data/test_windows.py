import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.checks import check_durations
from jaxbridge.data.windows import count_windows, cut, cut_together, samples_per_window
from model_ports.errors import InputError


@given(
    num=st.integers(0, 3000),
    rate=st.sampled_from([100.0, 125.0, 130.0, 200.0]),
    window=st.integers(1, 10),
    step=st.sampled_from([0.1, 0.3, 0.5, 1.0, 2.5, 10.0]),
)
def test_windows_are_the_samples_at_their_times(num, rate, window, step):
    signal = np.arange(2 * num, dtype=float).reshape(2, num)
    got = cut(signal, rate, window, step)
    length = int(window * rate)
    slow = []
    i = 0
    while round(i * step * rate) + length <= num:
        start = round(i * step * rate)
        slow.append(signal[:, start : start + length])
        i += 1
    # Compare only whole windows that also end within the duration, which rounding may break.
    assert len(slow) - len(got) in (0, 1)
    if len(slow) > len(got):
        assert abs((len(got) * step * rate) - round(len(got) * step * rate)) > 1e-6
    assert got.shape[1:] == (2, length)
    if len(got):
        np.testing.assert_array_equal(got, np.stack(slow[: len(got)]))


def test_fog_layout_counts():
    # 3 s windows every 0.3 s, both rates: equally many.
    assert count_windows(60 * 200, 200, 3, 0.3) == count_windows(60 * 130, 130, 3, 0.3) == 191


def test_pairs_start_at_the_same_moment_at_unequal_rates():
    seconds = np.arange(62 * 200) / 200, np.arange(62 * 100) / 100
    cuts = cut_together(
        {"eeg": (seconds[0][None], 200.0), "ecg": (seconds[1][None], 100.0)},
        10,
        2.5,
        name="n",
        start_s=2,
        stop_s=62,
    )
    assert cuts["eeg"].shape == (21, 1, 2000)
    assert cuts["ecg"].shape == (21, 1, 1000)
    np.testing.assert_array_equal(cuts["eeg"][:, 0, 0], cuts["ecg"][:, 0, 0])
    np.testing.assert_array_equal(cuts["eeg"][:, 0, 0], 2 + 2.5 * np.arange(21))


def test_truncation_by_resampling_is_allowed_and_only_the_overlap_is_cut():
    cuts = cut_together(
        {"a": (np.zeros((1, 4000)), 200.0), "b": (np.zeros((1, 1999)), 100.0)}, 10, 10, name="n"
    )
    assert len(cuts["a"]) == len(cuts["b"]) == 1


def test_different_durations_are_refused_naming_both():
    with pytest.raises(InputError, match=r"walk: .*eeg 60\.000 s, ecg 59\.900 s.*cut them"):
        cut_together(
            {"eeg": (np.zeros((1, 12000)), 200.0), "ecg": (np.zeros((1, 5990)), 100.0)},
            10,
            10,
            name="walk",
        )
    check_durations({"eeg": 60.0, "ecg": 59.99}, "walk", tolerance_s=0.01)
    with pytest.raises(InputError, match="walk"):
        check_durations({"eeg": 60.0, "ecg": 59.989}, "walk", tolerance_s=0.01)


def test_recording_shorter_than_a_window():
    with pytest.raises(InputError, match=r"nap: no window of 10 s fits into 9\.000 s"):
        cut_together({"eeg": (np.zeros((1, 1800)), 200.0)}, 10, 10, name="nap")


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 5), (0, 21), (30, 40)])
def test_part_outside_the_recording(start, stop):
    with pytest.raises(InputError, match=r"nap: seconds .* not within its 20\.000 s"):
        cut_together(
            {"eeg": (np.zeros((1, 4000)), 200.0)}, 1, 1, name="nap", start_s=start, stop_s=stop
        )


@pytest.mark.parametrize("window_s", [0, -1, 0.0123, float("nan")])
def test_impossible_window_lengths(window_s):
    with pytest.raises(InputError, match="Choose window_s"):
        samples_per_window(window_s, 100.0)


@pytest.mark.parametrize("step_s", [0, -1, 0.001, float("nan")])
def test_impossible_steps(step_s):
    with pytest.raises(InputError, match="larger step_s"):
        count_windows(1000, 100.0, 1, step_s)
