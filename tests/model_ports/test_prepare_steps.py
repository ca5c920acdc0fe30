"""Resampling, filters and z-scores in JAX against SciPy in float64."""

import jax
import numpy as np
import pytest
import scipy.signal

import model_ports as mp
from model_ports import filtering, resampling, scaling

# (old, new) rates in Hz, and samples
_RATES = [
    (256.0, 200.0, 1801), (700.0, 500.0, 2803), (249.89, 500.0, 1200), (500.0, 100.0, 3001),
    (64.0, 125.0, 700), (250.0, 130.0, 999),
]


def _noise(*shape: int) -> np.ndarray:
    """White noise on a random walk, so that ends differ and there is an offset."""
    rng = np.random.default_rng(0)
    return 3 + rng.normal(size=shape) + 0.1 * np.cumsum(rng.normal(size=shape), axis=-1)


def _error(got: jax.Array, want: np.ndarray) -> float:
    got = np.asarray(got, np.float64)
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize(("old", "new", "samples"), _RATES)
def test_linear_is_interpolation_between_samples_spread_over_the_new_length(old, new, samples):
    x = _noise(2, 3, samples)
    length = int(samples * (new / old))
    stands = np.linspace(0, length - 1, samples)
    want = np.stack([[np.interp(np.arange(length), stands, row) for row in lead] for lead in x])
    got = resampling.resample(x.astype(np.float32), old_hz=old, new_hz=new, method="linear")
    error = _error(got, want)
    print(f"linear {old:g} to {new:g} Hz: max error {error:.1e}")
    assert error < 1e-6


@pytest.mark.parametrize(("old", "new", "samples"), [r for r in _RATES if r[0] != 249.89])
def test_polyphase_is_scipys_on_what_is_left_of_the_line_through_the_ends(old, new, samples):
    x = _noise(2, 3, samples)
    line = np.linspace(x[..., 0], x[..., -1], samples, axis=-1)
    common = np.gcd(int(old), int(new))
    want = scipy.signal.resample_poly(x - line, int(new) // common, int(old) // common, axis=-1)
    want = want[..., : int(samples * int(new) // int(old))]
    at = np.arange(want.shape[-1]) * old / new
    want += x[..., :1] + (x[..., -1:] - x[..., :1]) / (samples - 1) * at
    got = resampling.resample(x.astype(np.float32), old_hz=old, new_hz=new, method="polyphase")
    error = _error(got, want)
    print(f"polyphase {old:g} to {new:g} Hz: max error {error:.1e}")
    assert error < 3e-6


@pytest.mark.parametrize(
    ("old", "new", "samples"), [*_RATES, (64.0, 125.0, 701), (500.0, 125.0, 1000)]
)
def test_fourier_is_scipys(old, new, samples):
    x = _noise(2, 3, samples)
    want = scipy.signal.resample(x, int(samples * new / old), axis=-1)
    error = _error(resampling.fourier(x.astype(np.float32), old, new), want)
    print(f"fourier {old:g} to {new:g} Hz: max error {error:.1e}")
    assert error < 2e-6


def test_only_polyphase_keeps_high_frequencies_from_folding_back():
    at = np.arange(2000) / 500
    x = np.sin(2 * np.pi * 180 * at)[None].astype(np.float32)  # folds to 20 Hz at 200 Hz
    power = {
        method: float(np.std(resampling.resample(x, old_hz=500.0, new_hz=200.0, method=method)))
        for method in resampling.METHODS
    }
    assert power["linear"] > 0.2
    assert power["polyphase"] < 1e-2  # at the ends


def test_equal_rates_change_nothing():
    x = _noise(1, 2, 50).astype(np.float32)
    for method in resampling.METHODS:
        same = resampling.resample(x, old_hz=200.0, new_hz=200.0, method=method)
        np.testing.assert_array_equal(same, x)


def test_impossible_resampling_is_refused():
    x = np.zeros((1, 1, 40), np.float32)
    with pytest.raises(mp.InputError, match="249.89 Hz to 200 Hz.*use resampling='linear'"):
        resampling.resample(x, old_hz=249.89, new_hz=200.0, method="polyphase")
    with pytest.raises(mp.InputError, match="40 samples at 5000 Hz are too short"):
        resampling.resample(x, old_hz=5000.0, new_hz=200.0, method="linear")
    with pytest.raises(mp.InputError, match="'cubic' is unknown; use 'linear' or 'polyphase'"):
        resampling.resample(x, old_hz=100.0, new_hz=200.0, method="cubic")


@pytest.mark.parametrize("samples", [454, 3000])
def test_fir_bandpass_is_filtfilt(samples):
    x = _noise(2, 2, samples)
    taps = scipy.signal.firwin(151, [0.05, 47], pass_zero=False, fs=500)
    want = scipy.signal.filtfilt(taps, [1.0], x, axis=-1)
    error = _error(filtering.fir_bandpass(x.astype(np.float32), 500.0, 0.05, 47.0, 150), want)
    print(f"fir_bandpass, {samples} samples: max error {error:.1e}")
    assert error < 2e-6


@pytest.mark.parametrize("samples", [28, 1250, 20000])
def test_chebyshev_bandpass_is_sosfiltfilt(samples):
    """Poles at 0.5 of 62.5 Hz lie within 0.4 % of the unit circle."""
    x = _noise(2, 1, samples)
    sections = scipy.signal.cheby1(4, 0.5, [0.5, 12], "bandpass", fs=125, output="sos")
    want = scipy.signal.sosfiltfilt(sections, x, axis=-1)
    got = filtering.chebyshev_bandpass(x.astype(np.float32), 125.0, 0.5, 12.0, 4, 0.5)
    error = _error(got, want)
    print(f"chebyshev_bandpass, {samples} samples: max error {error:.1e}")
    assert error < 5e-6


def test_too_short_for_the_filters():
    with pytest.raises(mp.InputError, match=r"453 samples at 500 Hz.*more than 0\.906 s"):
        filtering.fir_bandpass(np.zeros((1, 1, 453), np.float32), 500.0, 0.05, 47.0, 150)
    with pytest.raises(mp.InputError, match=r"27 samples at 125 Hz.*more than 0\.216 s"):
        filtering.chebyshev_bandpass(np.zeros((1, 1, 27), np.float32), 125.0, 0.5, 12.0, 4, 0.5)


@pytest.mark.parametrize(("scale", "offset"), [(1e-9, 0.0), (1e-6, 0.3), (1e7, -1e9)])
def test_zscore_at_any_scale_and_offset(scale, offset):
    x = _noise(2, 3, 1000) * scale + offset
    want = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    assert _error(scaling.zscore(scaling.to_unit_peak(x)), want) < 2e-6


def test_what_a_filter_left_nothing_of_becomes_zero():
    noise = (1e-8 * _noise(1, 2, 100)).astype(np.float32)
    np.testing.assert_array_equal(scaling.zscore(noise), np.zeros((1, 2, 100)))
