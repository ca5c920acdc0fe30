"""The simulation holds the effects that it says it puts in."""

import dataclasses

import numpy as np
import pytest
from scipy import signal as dsp

from jaxbridge.data import simulation
from jaxbridge.data.preparation import prepare
from model_ports.errors import InputError


@pytest.fixture(scope="module")
def pairs() -> list[simulation.Pair]:
    return list(simulation.simulate(8, duration_s=60, seed=3))


def _by_label(values: list[float], pairs) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([pair.label for pair in pairs])
    return np.array(values)[labels == 0], np.array(values)[labels == 1]


def test_alpha_falls_under_load(pairs):
    def alpha(pair):
        frequency, power = dsp.welch(pair.eeg.signal, pair.eeg.sampling_rate_hz, nperseg=500)
        band, around = (frequency > 8) & (frequency < 12), (frequency > 15) & (frequency < 30)
        occipital = power[[pair.eeg.leads.index(lead) for lead in ("O1", "O2")]]
        return occipital[:, band].mean() / occipital[:, around].mean()

    rest, load = _by_label([alpha(pair) for pair in pairs], pairs)
    assert np.all(load < rest)


def test_heart_beats_faster_and_steadier_under_load(pairs):
    def beats(pair):
        ecg, rate = pair.ecg.signal[0], pair.ecg.sampling_rate_hz
        band = dsp.butter(2, [8, 30], "bandpass", fs=rate, output="sos")
        height = dsp.sosfiltfilt(band, ecg)
        peaks, _ = dsp.find_peaks(
            height, height=0.5 * np.quantile(height, 0.995), distance=0.3 * rate
        )
        rr_s = np.diff(peaks) / rate
        rr_s = rr_s[np.abs(rr_s / np.median(rr_s) - 1) < 0.3]
        return 60 / rr_s.mean(), rr_s.std() / rr_s.mean()

    found = [beats(pair) for pair in pairs]
    rest_bpm, load_bpm = _by_label([rate for rate, _ in found], pairs)
    assert np.all(load_bpm > rest_bpm + 3)
    assert 50 < rest_bpm.mean() < 85
    rest_variability, load_variability = _by_label([v for _, v in found], pairs)
    assert load_variability.mean() < rest_variability.mean()


def test_a_recording_depends_on_seed_person_and_condition_alone(pairs):
    fewer = list(simulation.simulate(2, duration_s=60, seed=3))
    np.testing.assert_array_equal(fewer[3].eeg.signal, pairs[3].eeg.signal)
    other = next(simulation.simulate(1, duration_s=60, seed=4))
    assert not np.array_equal(other.ecg.signal, pairs[0].ecg.signal)


def test_store_of_simulated_windows(tmp_path):
    simulated = simulation.Simulated(
        duration_s=20, window_s=5, sizes={"train": 2, "val": 1, "pair": 2, "test": 1}
    )
    store, _ = prepare(tmp_path / "a", simulated, simulated.split)
    assert store.shape("eeg") == (4, 5, 200)
    assert store.shape("ecg") == (500,)
    assert store.num_windows == 6 * 2 * 4
    people = {split: set(store.subjects[store.indices(split)]) for split in simulated.sizes}
    assert {k: len(v) for k, v in people.items()} == simulated.sizes
    assert len(set.union(*people.values())) == 6
    again, _ = prepare(tmp_path / "b", simulated, simulated.split)
    assert store.hash == again.hash
    first = store.recordings == "S000_rest"
    np.testing.assert_array_equal(store.start_s[first], [0, 5, 10, 15])
    other = dataclasses.replace(simulated, seed=1)
    with pytest.raises(InputError, match="other inputs"):
        prepare(tmp_path / "a", other, simulated.split)
