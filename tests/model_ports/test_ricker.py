"""Scalograms against slow double-precision oracles."""

import jax
import numpy as np
import pytest

import model_ports as mp
from model_ports.ricker import num_rows, scalogram
from tests import recipe
from tests.golden import Golden, relative_error


def _ricker(points: float, scale: float) -> np.ndarray:
    """scipy.signal.ricker, as it was up to SciPy 1.14."""
    at = np.arange(0, points) - (points - 1) / 2
    return (
        2 / (np.sqrt(3 * scale) * np.pi**0.25) * (1 - at**2 / scale**2)
        * np.exp(-(at**2) / (2 * scale**2))
    )


def _scipy(series: np.ndarray) -> np.ndarray:
    """scipy.signal.cwt of one series in all scales, (samples, 65)."""
    columns = []
    for scale in np.arange(0.1, 65):
        wavelet = _ricker(min(10 * scale, len(series)), scale)[::-1]
        start = (len(wavelet) - 1) // 2
        columns.append(np.convolve(series, wavelet)[start : start + len(series)])
    return np.array(columns).T


def _torch(series: np.ndarray) -> np.ndarray:
    """NormWear's own transform: one length of wavelet, padded by half of it."""
    taps = min(640, len(series))
    padded = np.pad(series, taps // 2)
    return np.array([
        np.correlate(padded, _ricker(taps, float(np.float32(scale))), "valid")
        for scale in np.arange(0.1, 65)
    ]).T


@pytest.mark.parametrize("samples", [3, 4, 11, 14, 47, 262, 701])
@pytest.mark.parametrize("definition, oracle", [("scipy", _scipy), ("torch", _torch)])
def test_equals_double_precision(samples: int, definition: str, oracle) -> None:
    x = recipe.signal(samples, (2, samples))
    d1 = np.diff(x.astype(np.float64))
    want = np.stack([
        [oracle(series) for series in (x[i, 2:].astype(np.float64), d1[i, 1:], np.diff(d1[i]))]
        for i in range(2)
    ])
    found = jax.jit(scalogram, static_argnums=1)(x, definition)
    assert found.shape == (2, 3, num_rows(samples, definition), 65)
    # Each scale is compared with its own maximum: large scales are faint in short signals.
    for k in range(65):
        assert relative_error(found[..., k], want[..., k]) < 2e-6


@pytest.mark.parametrize("definition, prefix", [("scipy", "cwt"), ("torch", "cwt_torch")])
def test_agrees_with_the_published_front_end(definition: str, prefix: str) -> None:
    golden = Golden("normwear")
    image = np.asarray(scalogram(golden.signal(), definition), np.float64)
    found = {
        "corner": image[0, 0, :, :8, :16],
        "tail_corner": image[0, 0, :, -8:, -16:],
        "time_mean": image.mean(3),
        "time_rms": np.sqrt((image**2).mean(3)),
        "norm": np.array([image.mean(), image.std(), np.sqrt((image**2).sum())]),
    }
    errors = {k: relative_error(v, golden.arrays[f"{prefix}_{k}"]) for k, v in found.items()}
    print(f"{definition} scalogram: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


def test_is_linear_and_batched() -> None:
    x = recipe.signal(1, (2, 3, 40))
    whole = scalogram(x)
    np.testing.assert_allclose(whole[1, 2], scalogram(x[1, 2]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scalogram(-2 * x), -2 * whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("samples, definition", [(2, "scipy"), (40, "morlet")])
def test_bad_requests_are_refused(samples: int, definition: str) -> None:
    with pytest.raises(mp.InputError, match="scalogram"):
        scalogram(np.zeros((1, samples), np.float32), definition)
