"""ISRUC-Sleep: every sample against an independent computation; stages; refusals."""

import json
import pickle
import shutil

import numpy as np
import pytest
import scipy.io

from jaxbridge.data.preparation import prepare
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.simulated_files import write_isruc
from jaxbridge.data.splits import SplitRule
from model_ports.errors import InputError
from tests.jaxbridge.data.published import slow

EPOCHS = 12
EEG = ("F3_A2", "C3_A2", "O1_A2", "F4_A1", "C4_A1", "O2_A1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("isruc")
    write_isruc(path, ("subject1", "subject100"), minutes=EPOCHS / 2)
    return path


@pytest.fixture
def damaged(folder, tmp_path):
    """Writes subject1 with some channel changed."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    mat = tmp_path / "ExtractedChannels" / "subject1.mat"

    def write(change):
        content = {k: v for k, v in scipy.io.loadmat(mat).items() if k[0] != "_"}
        change(content)
        scipy.io.savemat(mat, content)
        return Isruc(tmp_path)

    return write


def _published(folder, number):
    content = scipy.io.loadmat(folder / "ExtractedChannels" / f"subject{number}.mat")
    lines = (folder / "RawData" / str(number) / f"{number}_1.txt").read_text().split()
    return content, [int(line) for line in lines]


@pytest.mark.parametrize("encoder", ["hubert_ecg_small", "ecg_fm", "ecg_dualnet"])
def test_every_sample(folder, encoder):
    batch = Isruc(folder, ecg_encoder=encoder).windows("subject100")
    content, _ = _published(folder, 100)
    eeg, ecg = batch.arrays["eeg"], batch.arrays["ecg"]
    assert eeg.shape == (EPOCHS, 6, 30, 200)
    shape = {"hubert_ecg_small": (3000,), "ecg_fm": (12, 15000), "ecg_dualnet": (1, 9000)}[encoder]
    assert ecg.shape == (EPOCHS, *shape)
    for epoch in range(EPOCHS):
        for lead, channel in enumerate(EEG):
            for second in range(30):
                wanted = content[channel][epoch, 200 * second : 200 * (second + 1)] / 100
                np.testing.assert_array_equal(eeg[epoch, lead, second], wanted.astype(np.float32))
        wanted, _ = slow.ecg(content["X2"][epoch], 200, encoder)
        got = ecg[epoch] if ecg.ndim == 2 else ecg[epoch, 0]
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        assert ecg.ndim == 2 or not ecg[epoch, 1:].any()
    np.testing.assert_array_equal(batch.start_s, [30 * epoch for epoch in range(EPOCHS)])
    assert (batch.subject, batch.recording) == ("subject100", "subject100")


def test_stages_become_two_or_five_classes(folder):
    _, stages = _published(folder, 1)
    assert len(stages) == EPOCHS + 30 and set(stages[:EPOCHS]) == {0, 1, 2, 3, 5}
    two, five = (Isruc(folder, classes=n).windows("subject1") for n in (2, 5))
    assert two.labels.tolist() == [int(stage != 0) for stage in stages[:EPOCHS]]
    assert five.labels.tolist() == [{5: 4}.get(stage, stage) for stage in stages[:EPOCHS]]
    assert len(Isruc(folder, classes=5).metadata["class_names"]) == 5


def test_another_eeg_encoder_is_given_epochs_prepared_one_by_one(folder):
    eeg = Isruc(folder, eeg_encoder="normwear").windows("subject1").arrays["eeg"]
    assert eeg.shape == (EPOCHS, 6, 3900)
    content, _ = _published(folder, 1)
    wanted = slow.z(slow.linear(content["C4_A1"][3], 200, 130))
    np.testing.assert_allclose(eeg[3, 4], wanted, atol=1e-5)


def test_it_is_a_data_set(folder):
    data = pickle.loads(pickle.dumps(Isruc(str(folder))))
    assert list(data.recordings) == ["subject1", "subject100"]
    assert str(folder) not in json.dumps(data.metadata)
    files = [file for name in data.recordings for file in data.sources_of(name)]
    assert files[1] == "RawData/1/1_1.txt" and set(data.metadata["sources"]) == set(files)
    assert list(Isruc(folder, without=("subject1",)).recordings) == ["subject100"]
    missing = data.check()
    assert len(missing) == 98 and missing[0] == "ExtractedChannels/subject2.mat is missing"


@pytest.mark.parametrize("rule", ["recording", "time_block", "paper"])
def test_eeg_read_again_from_the_sources_is_the_same(folder, tmp_path, monkeypatch, rule):
    rule = SplitRule({"pair": 0.5, "train": 0.5}, rule)
    again, _ = prepare(tmp_path / "again", Isruc(folder), rule, workers=1)
    assert again.num_windows > EPOCHS and again.read("eeg", [0]).any()
    monkeypatch.delattr(Isruc, "source_windows")
    kept, _ = prepare(tmp_path / "kept", Isruc(folder), rule)
    assert again.content_sha256 == kept.content_sha256


def test_compressed_files_are_the_same(damaged, folder):
    data = damaged(lambda content: None)
    mat = data.folder / "ExtractedChannels" / "subject1.mat"
    content = {k: v for k, v in scipy.io.loadmat(mat).items() if k[0] != "_"}
    scipy.io.savemat(mat, content, do_compression=True)
    assert not data.source_windows("subject1")
    batch, wanted = data.windows("subject1"), Isruc(folder).windows("subject1")
    for name in ("eeg", "ecg"):
        np.testing.assert_array_equal(batch.arrays[name], wanted.arrays[name])


def test_a_constant_epoch_of_ecg_becomes_zero(damaged):
    data = damaged(lambda content: content["X2"].__setitem__(4, 0.3))
    ecg = data.windows("subject1").arrays["ecg"]
    assert not ecg[4].any()
    np.testing.assert_allclose(ecg[[3, 5]].std(axis=1), 1, rtol=1e-5)


def _nan(content):
    content["C3_A2"][2, 100:300] = np.nan


def _constant(content):
    content["O1_A2"][:] = 7


def _missing(content):
    del content["X2"], content["F4_A1"]


def _other_rate(content):
    content["O2_A1"] = content["O2_A1"][:, ::2]


def _fewer_epochs(content):
    content["X2"] = content["X2"][:-1]


def _complex(content):
    content["C3_A2"] = content["C3_A2"] * 1j


def _one_epoch_less(content):
    for name in content:
        content[name] = content[name][:-1]


@pytest.mark.parametrize(("change", "message", "by_check"), [
    (_nan, r"subject1\.mat: lead 'C3_A2' has 200 NaN.* 12100 to 12299 \(60.500 to 61.500 s", False),
    (_constant, r"subject1\.mat: lead 'O1_A2' is constant at 7", False),
    (_complex, r"subject1\.mat: C3_A2 holds no real numbers", False),
    (_missing, r"subject1\.mat has no F4_A1, X2\..*leave subject1 out", True),
    (_other_rate, r"O2_A1 has shape \(12, 3000\), \(12, 6000\) is wanted: 30 s at 200 Hz", True),
    (_fewer_epochs, r"X2 has shape \(11, 6000\), \(12, 6000\) is wanted", True),
    (_one_epoch_less, r"1_1\.txt has 42 stages for 11 epochs; 41 are wanted.*leave subject1 out", True),
])
def test_channels_that_do_not_fit_are_refused(damaged, change, message, by_check):
    data = damaged(change)
    with pytest.raises(InputError, match=message):
        data.windows("subject1")
    if by_check:
        with pytest.raises(InputError, match=message):
            data.check()


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: text.replace("3", "4", 1), r"1_1\.txt: line \d+ is '4', none of the stages 0, 1"),
    (lambda text: text.replace("\n", "\n\n", 1), r"1_1\.txt: line 2 is ''"),
    (lambda text: text + "0\n", r"1_1\.txt: line 43 is ''"),
    (lambda text: text[2:], r"1_1\.txt has 41 stages for 12 epochs"),
    (lambda text: "W\n" + text, r"1_1\.txt: line 1 is 'W'"),
    (lambda text: text + "\u00e9", r"1_1\.txt cannot be read"),
])
def test_stages_that_do_not_fit_are_refused(damaged, change, message):
    data = damaged(lambda content: None)
    path = data.folder / "RawData" / "1" / "1_1.txt"
    path.write_text(change(path.read_text()), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        data.windows("subject1")


def test_files_that_are_no_matlab_5_are_refused(damaged):
    data = damaged(lambda content: None)
    mat = data.folder / "ExtractedChannels" / "subject1.mat"
    whole = mat.read_bytes()
    newer = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512)
    for content, message in (
        (newer, "is a MATLAB 7.3 file"), (whole[:30000], "cannot be read or is damaged"),
        (b"", "is damaged or no MATLAB 5 file"), (b"\x01" * 500, "is damaged or no MATLAB 5 file"),
    ):
        mat.write_bytes(content)
        with pytest.raises(InputError, match=rf"subject1\.mat {message}"):
            data.windows("subject1")


def test_folders_and_options_that_do_not_fit_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"(?s)no folder .*ISRUC-Sleep.*RawData/1/1_1\.txt"):
        _ = Isruc(tmp_path).recordings
    (tmp_path / "ExtractedChannels").mkdir()
    with pytest.raises(InputError, match="has no subjectK.mat"):
        _ = Isruc(tmp_path).recordings
    shutil.copy(folder / "ExtractedChannels" / "subject1.mat", tmp_path / "ExtractedChannels")
    with pytest.raises(InputError, match=r"1_1\.txt is missing. Get it, or leave subject1 out"):
        _ = Isruc(tmp_path).recordings
    with pytest.raises(InputError, match="2 or 5 classes, not 3"):
        Isruc(folder, classes=3)
    with pytest.raises(InputError, match="tiny_biomoe cannot read the 6 EEG leads"):
        Isruc(folder, eeg_encoder="tiny_biomoe")
    with pytest.raises(InputError, match="missing_leads is None"):
        Isruc(folder, ecg_encoder="ecg_fm", missing_leads=None)
