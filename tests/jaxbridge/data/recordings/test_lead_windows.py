"""Windows of the leads of files, and what is refused."""

import numpy as np
import pytest

import model_ports as mp
from jaxbridge.data.recordings.description import Gaps
from jaxbridge.data.recordings.lead_windows import lead_windows, recording_files

REFUSE, DROP = Gaps(longer="refuse"), Gaps(longer="drop")


def write(path, rate="50", **columns):
    head = f"# Sampling Rate (Hz):= {rate}\n" if rate else ""
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text(head + ",".join(columns) + "\n" + "\n".join(rows) + "\n")
    return path


def test_windows_of_every_lead_at_their_times(tmp_path):
    path = write(tmp_path / "a.csv", eda=np.arange(520.0), bvp=-np.arange(520.0))
    eda, bvp = lead_windows(path, 4, 2, rule=REFUSE)
    assert (eda.lead, bvp.lead) == ("eda", "bvp")
    np.testing.assert_array_equal(eda.start_s, [0, 2, 4, 6])
    np.testing.assert_array_equal(eda.signals[:, 0], [0, 100, 200, 300])
    np.testing.assert_array_equal(bvp.signals, -eda.signals)
    assert eda.signals.shape == (4, 200)
    only, = lead_windows(path, 4, 2, leads=("bvp",), rule=REFUSE)
    assert only.lead == "bvp"


def test_windows_of_rates_that_are_no_whole_number(tmp_path):
    path = write(tmp_path / "a.csv", rate="62.47", eda=np.arange(400.0))
    found, = lead_windows(path, 2, 2, rule=REFUSE)
    assert found.signals.shape == (3, 125)
    np.testing.assert_array_equal(found.signals[:, 0], [0, 125, 250])


def test_windows_that_touch_a_gap_are_left_out_or_refused(tmp_path):
    signal = np.arange(500.0)
    signal[210:213] = np.nan
    path = write(tmp_path / "a.csv", eda=signal)
    found, = lead_windows(path, 2, 2, rule=DROP)
    np.testing.assert_array_equal(found.start_s, [0, 2, 6, 8])
    with pytest.raises(mp.InputError, match="'eda' has 3 NaN.*210 to 212"):
        list(lead_windows(path, 2, 2, rule=REFUSE))


def test_what_cannot_be_cut_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", rate=None, eda=np.arange(100.0))
    with pytest.raises(mp.InputError, match="sampling rate of 'eda'"):
        list(lead_windows(path, 1, 1, rule=REFUSE))
    assert len(next(lead_windows(path, 1, 1, sampling_rate_hz=50, rule=REFUSE)).signals) == 2
    with pytest.raises(mp.InputError, match="2.000 s, too few for a window of 3 s"):
        list(lead_windows(path, 3, 3, sampling_rate_hz=50, rule=REFUSE))
    with pytest.raises(mp.InputError, match="no lead bvp; it has eda"):
        list(lead_windows(path, 1, 1, leads=("bvp",), rule=REFUSE))


@pytest.mark.parametrize("rate", ["nan", "-50", "inf"])
def test_rate_that_is_none(tmp_path, rate):
    path = write(tmp_path / "a.csv", rate=rate, eda=np.arange(100.0))
    with pytest.raises(mp.InputError, match=rf"a\.csv: lead 'eda': sampling rate {float(rate)} Hz"):
        list(lead_windows(path, 1, 1, rule=REFUSE))


def test_files_that_hold_signals(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("b/x.csv", "a.edf", "r.hea", "r.mat", "notes.md"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in recording_files(tmp_path)]
    assert found == ["a.edf", "b/x.csv", "r.hea"]
    with pytest.raises(mp.InputError, match="no recordings"):
        recording_files(tmp_path / "empty")
    with pytest.raises(mp.InputError, match="is no folder"):
        recording_files(tmp_path / "nowhere")

