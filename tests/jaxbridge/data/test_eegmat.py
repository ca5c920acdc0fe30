import shutil
from collections import Counter
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy import signal as dsp

from jaxbridge.data.eegmat import CLASS_NAMES, SIZES, Eegmat
from jaxbridge.data.preparation import prepare
from jaxbridge.data.recipes import recipe
from jaxbridge.data.splits import SplitRule
from model_ports.errors import InputError
from tests.jaxbridge.data.edf_writer import write_edf
from tests.jaxbridge.data.eegmat_files import LEADS, RATE, signals, write_subjects

REAL = Path(__file__).parents[4] / "shared" / "signals" / "eegmat"
SMALL = {"train": 1, "val": 1, "pair": 1, "test": 1}

needs_recordings = pytest.mark.skipif(
    not REAL.is_dir(), reason="the recordings of ../shared/signals/eegmat are not here"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("eegmat")
    write_subjects(made, 4)
    return made


def dataset(folder, **changes):
    settings = {"eeg_leads": ("F3", "T7")} | changes
    return Eegmat(folder, recipe("labram"), recipe("hubert_ecg"), **settings)


def _ensure(out, data, sizes=SMALL):
    return prepare(out, data, SplitRule(sizes))[0]


def _ecg_slowly(ecg):
    """The whole-recording ECG at 100 Hz, from SciPy alone."""
    taps = dsp.firwin(151, [0.05, 47], pass_zero=False, fs=500)
    filtered = dsp.filtfilt(taps, 1, ecg)
    length = len(ecg) // 5
    slow = np.interp(np.arange(length), np.linspace(0, length - 1, len(ecg)), filtered)
    return (slow - slow.mean()) / slow.std()


def test_windows_are_the_last_minute_of_rest_and_the_first_of_the_task(folder, tmp_path):
    store = _ensure(tmp_path / "s", dataset(folder, step_s=5.0))
    assert store.class_names == CLASS_NAMES
    assert store.num_windows == 4 * 2 * 11
    assert store.shape("eeg") == (2, 10, 200)
    assert store.shape("ecg") == (1000,)
    for part, start_s, seconds in ((1, 5, 65), (2, 0, 62)):
        chosen = np.flatnonzero(store.recordings == f"Subject02_{part}")
        assert set(store.labels[chosen]) == {part - 1}
        assert set(store.subjects[chosen]) == {"Subject02"}
        ecg = _ecg_slowly(signals(2, part, seconds)["ECG ECG"])
        eeg = signals(2, part, seconds)["EEG T3"]
        for i, index in enumerate(chosen):
            start = (start_s + 5 * i) * 100
            got = store.read("ecg", [index])[0]
            np.testing.assert_allclose(got, ecg[start : start + 1000], atol=5e-4)
            # T7 is the file's T3. Up to the anti-alias filter, a 0.1 mV unit and a 5:2 rate: every
            # second sample of the result stands on every fifth of the recording.
            smooth = dsp.sosfiltfilt(dsp.butter(8, 90, fs=500, output="sos"), eeg) / 100
            wanted = smooth[(start_s + 5 * i) * 500 :: 5][:1000]
            got = store.read("eeg", [index])[0, 1].reshape(-1)[::2]
            assert np.corrcoef(got, wanted)[0, 1] > 0.98
            assert got.std() == pytest.approx(wanted.std(), rel=0.05)


def test_metadata_says_what_decides_the_windows(folder):
    metadata = dataset(folder).metadata
    eeg, ecg = metadata["modalities"]["eeg"], metadata["modalities"]["ecg"]
    assert (eeg["sampling_rate_hz"], eeg["unit"], eeg["leads"]) == (200.0, "100 uV", ["F3", "T7"])
    assert (ecg["sampling_rate_hz"], ecg["unit"]) == (100.0, "standard deviations")
    assert ecg["preprocessing"]["bandpass"] == {
        "low_hz": 0.05, "high_hz": 47.0, "order": 150, "sampling_rate_hz": 500.0, "kind": "fir",
    }
    assert len(metadata["sources"]) == 8
    assert str(folder) not in str(metadata)
    assert list(dataset(folder).recordings.items())[:3] == [
        ("Subject00_1", "Subject00"), ("Subject00_2", "Subject00"), ("Subject01_1", "Subject01")
    ]


def test_hash_does_not_depend_on_the_place_but_on_the_bytes(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    one = _ensure(tmp_path / "one", dataset(folder))
    two = _ensure(tmp_path / "two", dataset(copy))
    assert one.hash == two.hash
    assert one.content_sha256 == two.content_sha256
    path = copy / "Subject01_2.edf"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    three = _ensure(tmp_path / "three", dataset(copy))
    assert three.hash != one.hash


def test_normalisation_by_window(folder, tmp_path):
    data = Eegmat(
        folder,
        recipe("labram"),
        recipe("hubert_ecg", normalise="window"),
        eeg_leads=("F3",),
    )
    store = _ensure(tmp_path / "s", data)
    ecg = store.read("ecg", np.arange(store.num_windows))
    np.testing.assert_allclose(ecg.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(ecg.std(1), 1, atol=1e-5)


def test_left_over_subjects_are_not_read(folder, tmp_path):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    sizes = {"train": 1, "test": 1}
    used = set(SplitRule(sizes).known_before(dataset(folder).recordings))
    assert len(used) == 4
    for path in tmp_path.glob("*.edf"):
        if path.stem not in used:
            path.write_bytes(b"")
    store = _ensure(tmp_path / "s", dataset(tmp_path), sizes)
    assert set(store.recordings) == used
    assert set(store.sources) == {f"{name}.edf" for name in used}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eeg_leads": ("F3", "Oz")}, r"'Oz' in .*_1\.edf.*EEG F3, EEG C3, EEG T3, ECG ECG"),
        ({"ecg_lead": "ECG V1"}, "'ECG V1'"),
        ({"eeg_leads": ()}, "No EEG leads"),
        ({"window_s": 61.0}, "61 s do not fit"),
        ({"window_s": 0.0}, "Choose window_s"),
        ({"step_s": 0.0}, "larger step_s"),
        ({"window_s": 2.5}, "whole seconds"),
    ],
)
def test_bad_settings(folder, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        _ensure(tmp_path / "s", dataset(folder, **changes))
    assert list(tmp_path.iterdir()) == []


def _broken(folder, tmp_path, name, change):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    change(tmp_path / name)
    with pytest.raises(InputError) as raised:
        _ensure(tmp_path / "s", dataset(tmp_path))
    assert not (tmp_path / "s").exists()
    return str(raised.value)


def test_missing_partner_names_the_file(folder, tmp_path):
    message = _broken(folder, tmp_path, "Subject03_2.edf", Path.unlink)
    assert "Subject03_2.edf is missing" in message


def test_cut_off_recording_names_the_file(folder, tmp_path):
    def cut(path):
        path.write_bytes(path.read_bytes()[:-100])

    assert "Subject02_1.edf is cut off" in _broken(folder, tmp_path, "Subject02_1.edf", cut)


def test_constant_lead_names_file_and_lead(folder, tmp_path):
    def flatten(path):
        flat = signals(1, 2, 62) | {"EEG T3": np.full(62 * 500, 50.0)}
        write_edf(path, flat, sampling_rate_hz=RATE)

    message = _broken(folder, tmp_path, "Subject01_2.edf", flatten)
    assert "Subject01_2.edf: lead 'T7' is constant" in message


def test_short_recording_names_file_and_need(folder, tmp_path):
    def shorten(path):
        write_edf(path, signals(0, 2, 59), sampling_rate_hz=RATE)

    message = _broken(folder, tmp_path, "Subject00_2.edf", shorten)
    assert "Subject00_2.edf: 59.000 s long, 60 s are needed" in message


def test_slow_recording_names_file_and_rate(folder, tmp_path):
    def slow(path):
        few = {lead: signals(0, 1, 65)[lead][::10] for lead in LEADS}
        write_edf(path, few, sampling_rate_hz=50.0)

    message = _broken(folder, tmp_path, "Subject00_1.edf", slow)
    assert "Subject00_1.edf: sampling rate 50 Hz" in message


def test_folder_without_recordings_says_where_to_get_them(tmp_path):
    with pytest.raises(InputError, match=r"SubjectNN_1\.edf.*physionet"):
        dataset(tmp_path).files  # noqa: B018
    with pytest.raises(InputError, match="no folder.*physionet"):
        dataset(tmp_path / "gone").files  # noqa: B018


@needs_recordings
def test_two_real_subjects_sample_by_sample(tmp_path):
    for name in ("Subject04", "Subject10"):  # rest of 170 and 188 s
        for part in "12":
            shutil.copy(REAL / f"{name}_{part}.edf", tmp_path)
    data = Eegmat(tmp_path, recipe("labram"), recipe("hubert_ecg"))
    store = _ensure(tmp_path / "s", data, {"train": 1, "test": 1})
    assert store.num_windows == 24
    assert store.shape("eeg") == (6, 10, 200)
    for name, rest_s in (("Subject04", 170), ("Subject10", 188)):
        for part, start_s in ((1, rest_s - 60), (2, 0)):
            raw = mne.io.read_raw_edf(tmp_path / f"{name}_{part}.edf", verbose="ERROR")
            ecg = _ecg_slowly(raw.get_data(picks=["ECG ECG"])[0])
            eeg = raw.get_data(picks=["EEG F3", "EEG C3", "EEG O1", "EEG F4", "EEG C4", "EEG O2"])
            # An offset taken out beforehand spares resample_poly its edges; constant, it adds back.
            mean = eeg.mean(1, keepdims=True)
            eeg = (dsp.resample_poly(eeg - mean, 2, 5, axis=1) + mean) * 1e6 / 100
            chosen = np.flatnonzero(store.recordings == f"{name}_{part}")
            got_ecg, got_eeg = store.read("ecg", chosen), store.read("eeg", chosen)
            for i in range(6):
                at = start_s + 10 * i
                wanted = ecg[at * 100 : (at + 10) * 100]
                np.testing.assert_allclose(got_ecg[i], wanted, atol=1e-5)
                wanted = eeg[:, at * 200 : (at + 10) * 200].reshape(6, 10, 200)
                # The recording's own edges differ by how the line is treated there.
                inner = slice(None) if 0 < i < 5 else slice(1, 9)
                np.testing.assert_allclose(got_eeg[i][:, inner], wanted[:, inner], atol=1e-4)


@needs_recordings
def test_all_real_subjects_are_split_as_the_study_wants():
    data = Eegmat(REAL, recipe("labram"), recipe("hubert_ecg"))
    assert len(data.files) == 24
    dealt = SplitRule(SIZES).known_before(data.recordings)
    assert Counter(dealt.values()) == {split: 2 * size for split, size in SIZES.items()}
    assert {name[:-2] for name, split in dealt.items() if split == "val"} == {
        "Subject00", "Subject05", "Subject24"
    }
    assert "Subject07" not in data.files
    assert "Subject22" not in data.files
