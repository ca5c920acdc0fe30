import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.description import Gaps
from jaxbridge.data.recordings.gaps import fill, runs, touching
from model_ports.errors import InputError
from tests.jaxbridge.data.recordings.small_files import describe, leads, write


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_runs_are_the_runs(bad):
    bad = np.array(bad)
    again = np.zeros(len(bad), bool)
    for start, stop in runs(bad):
        assert stop > start and not again[start:stop].any()
        assert (start == 0 or not bad[start - 1]) and (stop == len(bad) or not bad[stop])
        again[start:stop] = True
    np.testing.assert_array_equal(again, bad)


@given(st.data())
def test_every_sample_is_kept_interpolated_or_in_a_hole(data):
    samples = data.draw(st.integers(2, 80))
    bad = np.array(data.draw(st.lists(st.booleans(), min_size=samples, max_size=samples)))
    limit = data.draw(st.integers(0, 6))
    signal = np.where(bad, np.nan, np.arange(samples) ** 2.0)
    if bad.all():
        with pytest.raises(InputError, match="has no sample"):
            fill(signal[None], 10.0, ("x",), Gaps(limit / 10, "drop"), "r")
        return
    found = fill(signal[None], 10.0, ("x",), Gaps(limit / 10, "drop"), "r")
    np.testing.assert_array_equal(found.signal[0, ~bad], signal[~bad])
    assert np.isfinite(found.signal).all()
    inside = np.zeros(samples, bool)
    for start, stop in found.holes:
        inside[start:stop] = True
        assert start == 0 or stop == samples or stop - start > limit
    assert found.missing == (int(inside.sum()),)
    assert found.interpolated == (int((bad & ~inside).sum()),)
    for i in np.flatnonzero(bad & ~inside):  # on the line between its neighbours
        low, high = np.flatnonzero(~bad[:i])[-1], i + np.flatnonzero(~bad[i:])[0]
        line = np.interp(i, [low, high], signal[[low, high]])
        assert found.signal[0, i] == pytest.approx(line)


def test_windows_that_meet_a_hole():
    holes = np.array([[10.0, 12.0], [20.0, 20.5]])
    starts = np.array([0, 4, 5, 7, 12, 15, 15.5, 20.5])
    np.testing.assert_array_equal(
        touching(starts, 5.0, holes), [0, 0, 0, 1, 0, 0, 1, 0]
    )
    assert not touching(starts, 5.0, np.empty((0, 2))).any()


def with_gap(folder, start, stop, head):
    signals = leads()
    signals["PLETH"][start:stop] = np.nan
    write(folder, "npz", signals)
    return Recordings.from_yaml(describe(folder / "study.yaml", "npz", head=head))


def test_gap_too_long_names_file_lead_range_and_remedy(tmp_path):
    data = with_gap(tmp_path, 3000, 3050, "gaps: {interpolate_up_to_s: 0.2}")
    message = (r"P01\.npz: lead 'PLETH' has 50 NaN or infinite of 8000 samples; the gap at samples "
               r"3000 to 3049 \(15\.000 to 15\.250 s\).*0\.2 s.*longer: drop.*leave the lead out")
    with pytest.raises(InputError, match=message):
        data.windows("P01")


def test_gap_in_one_modality_drops_the_pair(tmp_path):
    data = with_gap(tmp_path, 3000, 3050, "gaps: {longer: drop}")
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 20, 25, 30])  # 15.0 to 15.25 s
    assert batch.notes["dropped_at_gaps"] == 2
    assert {len(array) for array in batch.arrays.values()} == {5}
    assert "longer: windows that touch them dropped" in data.metadata["gaps"]


def test_interpolated_gap_costs_no_window(tmp_path):
    batch = with_gap(tmp_path, 3000, 3010, "gaps: {interpolate_up_to_s: 0.05}").windows("P01")
    assert len(batch.start_s) == 7
    assert batch.notes["interpolated_samples"] == {"ppg": {"PLETH": 10}}


def test_gap_over_all_windows_leaves_a_batch_of_none(tmp_path):
    batch = with_gap(tmp_path, 100, 7990, "gaps: {longer: drop}").windows("P01")
    assert {name: array.shape for name, array in batch.arrays.items()} == {
        "ecg": (0, 1000), "ppg": (0, 1, 1250)}


def test_constant_lead_is_refused(tmp_path):
    signals = leads()
    signals["II"][:] = 0.5
    write(tmp_path, "npz", signals)
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", "npz"))
    with pytest.raises(InputError, match=r"P01\.npz: lead 'II' is constant at 0\.5 over samples 0 to"):
        data.windows("P01")


def test_recording_shorter_than_a_window_gives_none_and_says_so(tmp_path, caplog):
    write(tmp_path, "npz", leads(6))
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", "npz"))
    with caplog.at_level("INFO", "jaxbridge"):
        assert not len(data.windows("P01").labels)
    assert "6.000 s are too short for a window of 10 s" in caplog.text
