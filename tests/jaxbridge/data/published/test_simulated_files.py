"""Simulated files: seeded, and what a label means can be seen in every signal."""

import numpy as np
import pytest
from scipy import signal as dsp

from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.simulated_files import write_fog, write_isruc, write_wesad
from jaxbridge.data.published.wesad import Wesad

WRITERS = {
    "wesad": (write_wesad, ("S2", "S17"), 1.02), "isruc": (write_isruc, ("subject3", "subject7"), 5),
    "fog": (write_fog, ("008/OFF_1", "008/OFF_2"), 0.5),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated")
    for name, (write, subjects, minutes) in WRITERS.items():
        write(path / name, subjects, minutes=minutes, seed=3)
    return path


def _power(windows, rate, low, high):
    """Mean power within a band, (windows, leads)."""
    frequency, power = dsp.welch(windows, rate, nperseg=min(windows.shape[-1], round(4 * rate)))
    return power[..., (frequency >= low) & (frequency <= high)].mean(axis=-1)


def _auc(scores, positive):
    """Chance that a positive window has the higher score."""
    higher = scores[positive][:, None] > scores[~positive][None]
    return higher.mean()


@pytest.mark.parametrize("name", list(WRITERS))
def test_seed_and_subject_decide_the_bytes(files, tmp_path, name):
    write, subjects, minutes = WRITERS[name]
    write(tmp_path / "again", subjects[1:], minutes=minutes, seed=3)
    write(tmp_path / "other", subjects[1:], minutes=minutes, seed=4)
    # MATLAB files state the time at which they were written.
    skipped = 128 if name == "isruc" else 0
    again = [path for path in sorted((tmp_path / "again").rglob("*")) if path.is_file()]
    assert again
    for path in again:
        inside = path.relative_to(tmp_path / "again")
        assert path.read_bytes()[skipped:] == (files / name / inside).read_bytes()[skipped:]
    content = {path.read_bytes()[skipped:] for path in again}
    others = [path for path in (tmp_path / "other").rglob("*") if path.is_file()]
    assert any(path.read_bytes()[skipped:] not in content for path in others)


def test_stress_quickens_the_heart_in_both_signals(files):
    data = Wesad(files / "wesad", window_s=20.0)
    for subject in data.recordings:
        batch = data.windows(subject)
        assert set(batch.labels) == {0, 1, 2}
        for name, rate in (("ecg", 100), ("ppg", 125)):
            windows = batch.arrays[name].reshape(len(batch.labels), -1)
            found = []
            for window in windows:
                beats = dsp.find_peaks(window, distance=0.4 * rate, prominence=1.5 * window.std())[0]
                found.append(60 * rate / np.diff(beats).mean())
            assert _auc(np.array(found), batch.labels == 1) > 0.95


def test_heartbeats_of_ecg_and_ppg_are_the_same(files):
    batch = Wesad(files / "wesad").windows("S2")
    for ecg, ppg in zip(batch.arrays["ecg"], batch.arrays["ppg"][:, 0], strict=True):
        beats = dsp.find_peaks(ecg, distance=40, prominence=3)[0] / 100
        pulses = dsp.find_peaks(ppg, distance=50, prominence=1)[0] / 125
        delays = [np.min(np.abs(pulses - beat - 0.25)) for beat in beats[2:-2]]
        assert np.median(delays) < 0.05


def test_sleep_stages_show_in_eeg_and_heart_rate(files):
    data = Isruc(files / "isruc", classes=5)
    for subject in data.recordings:
        batch = data.windows(subject)
        assert set(batch.labels) == {0, 1, 2, 3, 4}
        eeg = batch.arrays["eeg"].reshape(len(batch.labels), 6, -1)
        delta, alpha = _power(eeg, 200, 0.6, 2).mean(1), _power(eeg, 200, 8.5, 11.5)[:, [2, 5]].mean(1)
        assert _auc(delta, batch.labels == 3) > 0.95
        assert _auc(alpha, batch.labels == 0) > 0.95
        beats = [len(dsp.find_peaks(ecg, distance=40, prominence=3)[0]) for ecg in batch.arrays["ecg"]]
        assert _auc(np.array(beats, float), batch.labels == 0) > 0.8


def test_frozen_gait_shows_in_eeg_and_emg(files):
    data = Fog(files / "fog")
    for name in data.recordings:
        batch = data.windows(name)
        assert set(batch.labels) == {0, 1}
        frozen = batch.labels == 1
        eeg = batch.arrays["eeg"].reshape(len(frozen), 6, -1)
        theta = _power(eeg, 200, 4, 7).mean(1) / _power(eeg, 200, 9, 11).mean(1)
        assert _auc(theta, frozen) > 0.9
        # without the steps' alternation the first two muscles are active at the same time
        envelope = dsp.sosfiltfilt(
            dsp.butter(2, 8, fs=130, output="sos"), np.abs(batch.arrays["emg"][:, :2])
        )
        together = np.array([np.corrcoef(pair)[0, 1] for pair in envelope])
        assert _auc(together, frozen) > 0.9
