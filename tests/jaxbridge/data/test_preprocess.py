import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as dsp
from scipy.interpolate import interp1d

from jaxbridge.data.preprocess import fir_bandpass, linear_resample, polyphase_resample, zscore
from jaxbridge.data.recipes import RECIPES, prepare
from jaxbridge.data.recording import Recording
from model_ports.errors import InputError

GOLDEN = json.loads((Path(__file__).parent / "reference_preprocessing.json").read_text())
RATES = st.sampled_from([64.0, 100.0, 125.0, 128.0, 200.0, 250.0, 256.0, 500.0, 512.0, 700.0])


def wave(num_samples, rate):
    """The signal that reference_preprocessing.json was computed from."""
    t = np.arange(num_samples) / rate
    beats = np.sin(2 * np.pi * 1.3 * t) ** 15 + 0.3 * np.sin(2 * np.pi * 9 * t + 1)
    saw = ((np.arange(num_samples) * 37) % 101) / 101
    return np.stack([beats + 0.5 * t / t[-1], np.cos(2 * np.pi * 0.4 * t) + saw])


def relative_error(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("rate", [200, 500, 700])
def test_ecg_as_the_reference_prepares_it(rate):
    golden = GOLDEN[str(rate)]
    signal = wave(golden["samples"], rate)
    recording = Recording(signal, float(rate), ("a", "b"), "mV", "golden", "s")
    got = prepare(recording, RECIPES["hubert_ecg"])
    assert got.shape == (2, golden["ecg_length"])
    assert relative_error(got[:, :: GOLDEN["every"]], np.array(golden["ecg"])) < 1e-10


@pytest.mark.parametrize("rate", [200, 500, 700])
def test_linear_resampling_as_the_reference_does_it(rate):
    golden = GOLDEN[str(rate)]
    got = linear_resample(wave(golden["samples"], rate), rate, 130)
    assert got.shape == (2, golden["linear_130_length"])
    wanted = np.array(golden["linear_130"])
    assert relative_error(got[:, :: GOLDEN["every"]], wanted) < 1e-12


@given(old=RATES, new=RATES, num=st.integers(40, 3000), seed=st.integers(0, 99))
def test_linear_resample_against_scipy(old, new, num, seed):
    signal = np.random.default_rng(seed).normal(size=(2, num))
    got = linear_resample(signal, old, new)
    length = int(num * (new / old))
    if old == new:
        np.testing.assert_array_equal(got, signal)
        return
    stands = np.linspace(0, length - 1, num)
    wanted = interp1d(stands, signal, kind="linear")(np.arange(length))
    np.testing.assert_allclose(got, wanted, atol=1e-9)
    np.testing.assert_allclose(got[:, [0, -1]], signal[:, [0, -1]], atol=1e-9)


@pytest.mark.parametrize("resample", [linear_resample, polyphase_resample])
@given(old=RATES, new=RATES, num=st.integers(40, 2000), seed=st.integers(0, 99))
def test_resampling_is_linear_and_keeps_offset_and_length(resample, old, new, num, seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 3, num))
    both = resample(2 * one - 3 * other + 50, old, new)
    apart = 2 * resample(one, old, new) - 3 * resample(other, old, new) + 50
    assert both.shape == apart.shape == (3, both.shape[1])
    assert num * new / old - 1 - 1e-9 <= both.shape[1] <= num * new / old + 1e-9
    np.testing.assert_allclose(both, apart, atol=1e-9)


@pytest.mark.parametrize(("old", "new"), [(500, 200), (250, 200), (128, 200), (256, 200)])
def test_polyphase_keeps_a_slow_wave_in_time(old, new):
    seconds = 20

    def slow(rate):
        return np.sin(2 * np.pi * 10 * np.arange(seconds * rate) / rate)[None]

    got = polyphase_resample(slow(old), old, new)
    middle = slice(2 * new, -2 * new)
    assert np.abs(got - slow(new))[:, middle].max() < 0.01


def test_polyphase_stops_what_would_fold_back_and_linear_does_not():
    t = np.arange(10 * 500) / 500
    hum = np.sin(2 * np.pi * 190 * t)[None]  # folds to 10 Hz at 200 Hz
    middle = slice(200, -200)
    assert np.abs(polyphase_resample(hum, 500, 200)[:, middle]).max() < 0.01
    assert np.abs(linear_resample(hum, 500, 200)[:, middle]).max() > 0.3


@pytest.mark.parametrize(("old", "new"), [(500, 200), (64, 100)])
def test_polyphase_keeps_a_drifting_offset_exactly(old, new):
    def line(rate: int) -> np.ndarray:
        return 40 + 3 * np.arange(5 * rate)[None] / rate

    np.testing.assert_allclose(polyphase_resample(line(old), old, new), line(new), rtol=1e-12)


def test_polyphase_refuses_an_odd_ratio_naming_the_way_out():
    with pytest.raises(InputError, match="Use linear resampling"):
        polyphase_resample(np.zeros((1, 100)), 249.89, 200.0)


def test_too_short_to_resample():
    with pytest.raises(InputError, match="too short"):
        linear_resample(np.zeros((1, 3)), 500, 100)


def test_bandpass_is_firwin_forwards_and_backwards():
    signal = np.random.default_rng(1).normal(size=(2, 4000))
    got = fir_bandpass(signal, 500, 0.05, 47, 150)
    taps = dsp.firwin(151, [0.05 / 250, 47 / 250], pass_zero=False)
    # Independent of filtfilt: far from the ends it is one convolution with the squared response.
    once = np.stack([np.convolve(row, np.convolve(taps, taps[::-1]), "same") for row in signal])
    np.testing.assert_allclose(got[:, 500:-500], once[:, 500:-500], atol=1e-12)
    np.testing.assert_allclose(got, dsp.filtfilt(taps, [1.0], signal), atol=1e-12)


def test_bandpass_gains():
    t = np.arange(20000) / 500

    def gain(frequency):
        tone = np.cos(2 * np.pi * frequency * t)[None]
        passed = fir_bandpass(tone, 500, 0.05, 47, 150)[:, 5000:-5000]
        return np.ptp(passed) / 2 if frequency else passed.max()

    assert gain(20) == pytest.approx(1, abs=0.02)
    assert gain(47) == pytest.approx(0.25, abs=0.01)  # half amplitude, twice
    assert gain(60) < 1e-4
    assert gain(0) == pytest.approx(0.9636, abs=1e-3)  # as the docstring warns


def test_bandpass_refuses_a_signal_shorter_than_its_padding():
    with pytest.raises(InputError, match=r"453 samples.*more than 0\.906 s"):
        fir_bandpass(np.ones((1, 453)), 500, 0.05, 47, 150)
    assert fir_bandpass(np.ones((1, 454)), 500, 0.05, 47, 150).shape == (1, 454)


@given(seed=st.integers(0, 99), scale=st.floats(1e-6, 1e6), offset=st.floats(-1e6, 1e6))
def test_zscore(seed, scale, offset):
    signal = np.random.default_rng(seed).normal(size=(2, 3, 50))
    got = zscore(signal)
    np.testing.assert_allclose(got.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(got.std(-1, ddof=0), 1, atol=1e-12)
    if abs(offset) < 1e3 * scale:
        np.testing.assert_allclose(zscore(signal * scale + offset), got, atol=1e-8)


@pytest.mark.parametrize("level", [0.0, 3.7, -1e5])
def test_zscore_of_a_constant_lead_is_zero_even_with_rounding_noise(level):
    rough = np.full((1, 1000), level)
    rough[0, ::3] = np.nextafter(level, np.inf)
    assert not zscore(np.full((1, 1000), level)).any()
    if level:
        assert not zscore(rough).any()
