"""WESAD: every sample against an independent computation; labels; refusals."""

import json
import os
import pickle

import numpy as np
import pytest

from jaxbridge.data.published.array_pickle import read_array_pickle
from jaxbridge.data.published.python2_pickle import write_python2_pickle
from jaxbridge.data.published.simulated_files import write_wesad
from jaxbridge.data.published.wesad import SUBJECTS, Wesad
from model_ports.errors import InputError
from tests.jaxbridge.data.published import slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("wesad")
    write_wesad(path, ("S2", "S10"), minutes=1.1)
    (path / "wesad_readme.pdf").touch()
    return path


@pytest.fixture
def damaged(folder, tmp_path):
    """Writes S2 with some entry changed."""
    content = read_array_pickle(folder / "S2" / "S2.pkl")

    def write(change):
        change(content)
        (tmp_path / "S2").mkdir()
        with (tmp_path / "S2" / "S2.pkl").open("wb") as file:
            write_python2_pickle(content, file)
        return Wesad(tmp_path)

    return write


def _slow_windows(folder, subject, encoder, window_s, step_s):
    """Start, label, ECG and PPG of each window that is kept."""
    content = pickle.loads((folder / subject / f"{subject}.pkl").read_bytes(), encoding="latin1")
    ecg, ecg_hz = slow.ecg(content["signal"]["chest"]["ECG"][:, 0], 700, encoder)
    ppg = slow.ppg(content["signal"]["wrist"]["BVP"][:, 0])
    labels, found = content["label"], []
    start_s = 0
    while (start_s + window_s) * ecg_hz <= len(ecg) and (start_s + window_s) * 125 <= len(ppg):
        a, b = round(start_s * ecg_hz), round((start_s + window_s) * ecg_hz)
        there = set(slow.nearest(labels, 700, ecg_hz, a, b).tolist())
        if len(there) == 1 and there <= {1, 2, 3}:
            c, d = round(start_s * 125), round((start_s + window_s) * 125)
            found.append((start_s, there.pop(), ecg[a:b], ppg[c:d]))
        start_s += step_s
    return [np.array(part) for part in zip(*found, strict=True)]


@pytest.mark.parametrize("encoder", ["hubert_ecg_base", "ecg_fm", "ecg_dualnet"])
def test_every_sample_label_and_start(folder, encoder):
    batch = Wesad(folder, ecg_encoder=encoder).windows("S2")
    start_s, labels, ecg, ppg = _slow_windows(folder, "S2", encoder, 60, 5)
    assert set(labels) == {1, 2, 3}
    np.testing.assert_array_equal(batch.start_s, start_s)
    assert batch.start_s.dtype == np.float64
    np.testing.assert_array_equal(batch.labels, labels - 1)
    assert {array.dtype for array in batch.arrays.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(batch.arrays["ppg"], ppg[:, None], atol=1e-5)
    got = batch.arrays["ecg"]
    if encoder == "hubert_ecg_base":
        assert got.shape == (len(ecg), 6000)
    else:
        assert got.shape[1:] == {"ecg_fm": (12, 30000), "ecg_dualnet": (1, 18000)}[encoder]
        assert not got[:, 1:].any()
        got = got[:, 0]
    np.testing.assert_allclose(got, ecg, atol=1e-5)
    assert (batch.subject, batch.recording, batch.split) == ("S2", "S2", None)


def test_other_windows_two_classes_and_repeated_leads(folder):
    options = {"ecg_encoder": "ecg_fm", "missing_leads": "repeat", "window_s": 24.0, "step_s": 7.5}
    batch = Wesad(folder, classes=2, **options).windows("S10")
    start_s, labels, ecg, ppg = _slow_windows(folder, "S10", "ecg_fm", 24.0, 7.5)
    np.testing.assert_array_equal(batch.start_s, start_s)
    np.testing.assert_array_equal(batch.labels, labels == 2)
    np.testing.assert_allclose(batch.arrays["ppg"], ppg[:, None], atol=1e-5)
    for lead in range(12):
        np.testing.assert_allclose(batch.arrays["ecg"][:, lead], ecg, atol=1e-5)


def test_windows_longer_than_any_condition_leave_none(folder):
    batch = Wesad(folder, window_s=80.0).windows("S2")
    assert batch.arrays["ecg"].shape == (0, 8000)
    assert batch.arrays["ppg"].shape == (0, 1, 10000)
    assert len(batch.labels) == len(batch.start_s) == 0


def test_it_is_a_data_set(folder):
    data = pickle.loads(pickle.dumps(Wesad(str(folder))))
    assert list(data.recordings.items()) == [("S10", "S10"), ("S2", "S2")]
    text = json.dumps(data.metadata)
    assert str(folder) not in text
    assert list(data.metadata["sources"]) == ["S10/S10.pkl", "S2/S2.pkl"]
    assert data.sources_of("S2") == ("S2/S2.pkl",)
    assert len(data.metadata["class_names"]) == 3
    assert data.metadata["modalities"]["ppg"]["sampling_rate_hz"] == 125
    others = [
        Wesad(folder, classes=2), Wesad(folder, step_s=10.0), Wesad(folder, without=("S10",)),
        Wesad(folder, ecg_encoder="ecg_fm"),
        Wesad(folder, ecg_encoder="ecg_fm", missing_leads="repeat"),
    ]
    texts = {text, *(json.dumps(other.metadata) for other in others)}
    assert len(texts) == 6


def test_what_is_missing_is_listed(folder):
    absent = [name for name in SUBJECTS if name not in ("S2", "S10")]
    missing = Wesad(folder, without=("S10",)).check()
    assert missing == [f"{name}/{name}.pkl is missing" for name in absent]


def test_folders_that_do_not_fit_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"(?s)no folder .*none\.\nWESAD: https://.*S2/S2\.pkl"):
        _ = Wesad(tmp_path / "none").recordings
    with pytest.raises(InputError, match="has no folders S2, S3"):
        _ = Wesad(tmp_path).recordings
    (tmp_path / "S5").mkdir()
    with pytest.raises(InputError, match=r"S5/S5\.pkl is missing. Get it, or leave S5 out"):
        _ = Wesad(tmp_path).recordings
    with pytest.raises(InputError, match="no subject S12 to leave out. It has S10, S2"):
        _ = Wesad(folder, without=("S12",)).recordings
    with pytest.raises(InputError, match="No subject .* is left"):
        _ = Wesad(folder, without=("S2", "S10")).recordings


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": 4}, "2 or 3 classes, not 4"),
    ({"ecg_encoder": "resnet"}, "No preprocessing recipe for 'resnet'"),
    ({"ppg_encoder": "resnet"}, "No preprocessing recipe for 'resnet'"),
    ({"missing_leads": "none"}, "missing_leads is 'none'"),
    ({"window_s": 0.005}, "A window of 0.005 s at 100 Hz"),
    ({"step_s": 0.0}, "step of 0 s"),
])
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Wesad(tmp_path, **options)


def _nan(content):
    content["signal"]["chest"]["ECG"][700:1400] = np.nan


def _constant(content):
    content["signal"]["wrist"]["BVP"][:] = 3.0


def _short(content):
    content["signal"]["wrist"]["BVP"] = content["signal"]["wrist"]["BVP"][:-128]


def _columns(content):
    content["signal"]["wrist"]["BVP"] = content["signal"]["wrist"]["ACC"]


def _text(content):
    content["signal"]["chest"]["ECG"] = "lost"


def _no_ecg(content):
    del content["signal"]["chest"]["ECG"]


def _label(content):
    content["label"][1400] = 8


def _swapped(content):
    content["subject"] = "S3"


@pytest.mark.parametrize(("change", "message"), [
    (_nan, r"S2\.pkl: lead 'ECG' has 700 NaN.* samples 700 to 1399 \(1.000 to 2.000 s\)"),
    (_constant, r"S2\.pkl: lead 'BVP' is constant at 3"),
    (_short, r"S2\.pkl: the signals differ in duration \(ECG 258.000 s, BVP 256.000 s"),
    (_columns, r"S2\.pkl: signal.wrist.BVP has shape \(8256, 3\), one column"),
    (_text, r"S2\.pkl: signal.chest.ECG is no array of numbers"),
    (_no_ecg, r"S2\.pkl has no entry signal.chest.ECG"),
    (_label, r"S2\.pkl: label 8 at sample 1400 \(2.000 s\) is none of 0 to 7"),
    (_swapped, r"S2\.pkl is of subject 'S3'"),
])
def test_content_that_does_not_fit_is_refused(damaged, change, message):
    with pytest.raises(InputError, match=message):
        damaged(change).windows("S2")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    (tmp_path / "S2").mkdir()
    (tmp_path / "S2" / "S2.pkl").write_bytes(pickle.dumps({"signal": os.getcwd}))
    with pytest.raises(InputError, match=r"S2\.pkl asks for posix\.getcwd"):
        Wesad(tmp_path).windows("S2")
