"""FOG: every sample against an independent computation; labels; refusals."""

import csv
import json
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest

from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.simulated_files import write_fog
from model_ports.errors import InputError
from tests.jaxbridge.data.published import slow

# As BioX-Bridge counts them, from 0: leads F3 F4 C3 C4 O1 O2 of 25 from column 2 on.
EEG = [2 + lead for lead in (2, 3, 4, 5, 8, 9)]
EMG = {"001": [27, 28, 31], "008/OFF_1": [27, 28, 31], "008/OFF_2": [27, 31, 28], "009": [28, 27, 30],
       "012": [28, 27, 31]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("fog")
    write_fog(path, tuple(EMG), tasks=1, minutes=0.4)
    (path / "FilteredData" / "008" / "notes.md").touch()
    return path


@pytest.fixture
def damaged(folder, tmp_path):
    """Writes 008/OFF_1/task_1 with its rows changed."""
    here = tmp_path / "FilteredData" / "008" / "OFF_1" / "task_1.txt"
    here.parent.mkdir(parents=True)

    def write(change):
        text = (folder / "FilteredData" / "008" / "OFF_1" / "task_1.txt").read_text()
        rows = [line.split(",") for line in text.splitlines()]
        here.write_text("".join(",".join(row) + "\n" for row in change(rows) or rows))
        return Fog(tmp_path)

    return write


def _slow_windows(folder, name, window_s, step_s):
    with (folder / "FilteredData" / f"{name}.txt").open() as file:
        rows = list(csv.reader(file))
    columns = {i: np.array([float(row[i]) for row in rows]) for i in (*EEG, *range(27, 32), 60)}
    eeg = [slow.linear(columns[i], 500, 200) / 100 for i in EEG]
    emg = [slow.z(slow.linear(columns[i], 500, 130)) for i in EMG[name.rpartition("/")[0]]]
    labels = columns[60].astype(int)
    found, index = [], 0
    while (index * step_s + window_s) * 500 <= len(rows) + 1e-6:
        start_s = index * step_s
        index += 1
        a, b = round(start_s * 500), round((start_s + window_s) * 500)
        (label, times), = Counter(labels[a:b].tolist()).most_common(1)
        if times * 10 < 8 * (b - a):
            continue
        c, d = round(start_s * 200), round((start_s + window_s) * 200)
        e, f = round(start_s * 130), round((start_s + window_s) * 130)
        found.append((start_s, label, [lead[c:d] for lead in eeg], [lead[e:f] for lead in emg]))
    return [np.array(part) for part in zip(*found, strict=True)], index


@pytest.mark.parametrize("where", list(EMG))
def test_every_sample_label_and_start(folder, where):
    name = f"{where}/task_1"
    data = Fog(folder, subjects=())
    batch = data.windows(name)
    (start_s, labels, eeg, emg), tried = _slow_windows(folder, name, 3, 0.3)
    assert set(labels) == {0, 1} and len(labels) < tried
    np.testing.assert_allclose(batch.start_s, start_s)
    np.testing.assert_array_equal(batch.labels, labels)
    assert batch.arrays["eeg"].shape == (len(labels), 6, 3, 200)
    np.testing.assert_allclose(batch.arrays["eeg"].reshape(eeg.shape), eeg, atol=1e-5)
    assert batch.arrays["emg"].shape == (len(labels), 3, 390)
    np.testing.assert_allclose(batch.arrays["emg"], emg, atol=1e-5)
    assert {array.dtype for array in batch.arrays.values()} == {np.dtype(np.float32)}
    assert (batch.subject, batch.recording) == (where[:3], name)


def test_other_windows(folder):
    batch = Fog(folder, window_s=2.0, step_s=1.1).windows("008/OFF_1/task_1")
    (start_s, labels, eeg, emg), _ = _slow_windows(folder, "008/OFF_1/task_1", 2, 1.1)
    np.testing.assert_allclose(batch.start_s, start_s)
    np.testing.assert_array_equal(batch.labels, labels)
    np.testing.assert_allclose(batch.arrays["eeg"].reshape(eeg.shape), eeg, atol=1e-5)
    np.testing.assert_allclose(batch.arrays["emg"], emg, atol=1e-5)


@pytest.mark.parametrize(("zeros", "kept"), [(1200, True), (1199, False)])
def test_80_percent_are_enough_and_less_is_not(damaged, zeros, kept):
    def label(rows):
        for i, row in enumerate(rows):
            row[60] = str(int(i >= zeros))

    batch = damaged(label).windows("008/OFF_1/task_1")
    assert (0.0 in batch.start_s) == kept
    assert batch.labels[0] == (not kept)


def test_it_is_a_data_set(folder):
    data = pickle.loads(pickle.dumps(Fog(str(folder))))
    assert data.recordings == {"008/OFF_1/task_1": "008", "008/OFF_2/task_1": "008"}
    assert data.check() == []
    assert data.metadata["modalities"]["eeg"]["leads"] == ["F3", "F4", "C3", "C4", "O1", "O2"]
    assert str(folder) not in json.dumps(data.metadata)
    assert list(data.metadata["sources"]) == [
        "FilteredData/008/OFF_1/task_1.txt", "FilteredData/008/OFF_2/task_1.txt"
    ]
    everybody = Fog(folder, subjects=())
    assert list(everybody.recordings) == sorted(f"{where}/task_1" for where in EMG)
    missing = everybody.check()
    assert "FilteredData/002 is missing" in missing and len(missing) == 8
    assert Fog(folder, subjects=("001",)).metadata != data.metadata


def _set(row, column, value):
    def change(rows):
        rows[row][column] = value

    return change


def _drop_column(rows):
    for row in rows:
        del row[40]


def _shorten_row(rows):
    del rows[6][50:]


def _half_rate(rows):
    return rows[::2]


def _flat(rows):
    for row in rows:
        row[28] = "3.0"


@pytest.mark.parametrize(("change", "message"), [
    (_drop_column, "task_1.txt has 60 columns in its first line, 61 are wanted"),
    (_shorten_row, "task_1.txt cannot be read: .*row 7"),
    (_set(5, 6, "lost"), "task_1.txt cannot be read: .*'lost'.* row 5"),
    (_set(5, 6, ""), "task_1.txt cannot be read: .*'' .* row 5"),
    (_set(500, 4, "nan"), r"task_1.txt: lead 'F3' has 1 NaN.* samples 500 to 500 \(1.000 to 1.002 s\)"),
    (_set(500, 31, "inf"), "task_1.txt: lead 'EMG 3' has 1 NaN or infinite"),
    (_set(500, 60, "2"), r"task_1.txt: label 2 at sample 500 \(1.000 s\) is neither 0 nor 1"),
    (_set(0, 1, "morning"), "task_1.txt: 'morning' or '.*' in column 1 is no time of day"),
    (_half_rate, r"6000 rows from 09:30:26 to 09:30:49.996 are 23.996 s, at 500 Hz .* 11.998 s"),
    (_flat, "task_1.txt: lead 'EMG 2' is constant at 3"),
])
def test_files_that_do_not_fit_are_refused(damaged, change, message):
    with pytest.raises(InputError, match=message):
        damaged(change).windows("008/OFF_1/task_1")


def test_check_looks_at_the_columns_and_names_missing_folders(damaged):
    data = damaged(lambda rows: None)
    assert data.check() == ["FilteredData/008/OFF_2 is missing"]
    with pytest.raises(InputError, match="60 columns"):
        damaged(_drop_column).check()


def test_a_recording_over_midnight_is_read(damaged):
    def late(rows):
        for i, row in enumerate(rows):
            seconds = (86400 - 10 + i / 500) % 86400
            row[1] = f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}"

    assert len(damaged(late).windows("008/OFF_1/task_1").labels)


def test_folders_and_options_that_do_not_fit_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"(?s)no folder .*FOG: https://data.mendeley.*008/OFF_1"):
        _ = Fog(tmp_path).recordings
    with pytest.raises(InputError, match="has no task_n.txt of subject 002"):
        _ = Fog(folder, subjects=("001", "002")).recordings
    with pytest.raises(InputError, match="FOG has no subject 13; it has 001"):
        Fog(folder, subjects=("13",))
    with pytest.raises(InputError, match="A window of 3.001 s at 200 Hz"):
        Fog(folder, window_s=3.001)
    shutil.copytree(folder / "FilteredData" / "001", tmp_path / "FilteredData" / "008" / "ON_1")
    with pytest.raises(InputError, match=r"FOG has no folder '008/ON_1', so its EMG columns"):
        _ = Fog(tmp_path).recordings
