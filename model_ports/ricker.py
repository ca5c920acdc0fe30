"""NormWear's front end: scalograms of a signal and its differences by Ricker wavelets.

Two definitions were published (Luo et al., NormWear, 2024, and its code), and they differ:

- "scipy": scipy.signal.cwt with scipy.signal.ricker as it was up to SciPy 1.14, which the
  BioX-Bridge data sets were made with. Each scale a has its own support, min(10 a, samples) taps,
  so the smallest scale is one tap wide.
- "torch": one support for all scales, min(640, samples) taps. With an even number of taps the
  result is one row longer than the signal.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from model_ports.errors import InputError

NUM_SCALES = 65
_LOWEST_SCALE = 0.1
_TORCH_MAX_TAPS = 640


def scalogram(signal: jax.Array, definition: str = "scipy") -> jax.Array:
    """Returns the wavelet transform of a signal and its first two differences.

    Args:
        signal: (..., samples), at least 3 samples.
        definition: "scipy" or "torch", see the module's text.

    Returns:
        (..., 3, rows, 65) float32: signal, first difference, second difference; rows are times
        (samples - 2 of them, one more under "torch" where samples is even); columns are the
        scales 0.1, 1.1, ..., 64.1 in samples.

    Raises:
        InputError: an unknown definition or fewer than 3 samples.
    """
    if definition not in ("scipy", "torch"):
        raise InputError(f"there is no scalogram {definition!r}; use 'scipy' or 'torch'.")
    samples = signal.shape[-1]
    if samples < 3:
        raise InputError(f"a scalogram needs at least 3 samples, not {samples}.")
    signal = jnp.asarray(signal, jnp.float32)
    first = jnp.diff(signal)
    series = jnp.stack([signal[..., 2:], first[..., 1:], jnp.diff(first)], axis=-2)
    length, rows = samples - 2, num_rows(samples, definition)
    taps, before = _scipy_bank(length) if definition == "scipy" else _torch_bank(length)
    # Correlation as a product of spectra: three to five times faster on CPU than convolving, and
    # a wrapped-around tap always meets padding.
    size = scipy.fft.next_fast_len(max(length + before, rows + len(taps) - before), real=True)
    wrapped = np.zeros((NUM_SCALES, size))
    wrapped[:, np.arange(len(taps)) - before] = taps.T
    bank = jnp.asarray(np.conj(np.fft.rfft(wrapped)), jnp.complex64)
    image = jnp.fft.irfft(jnp.fft.rfft(series, size)[..., None, :] * bank, size)
    return jnp.swapaxes(image[..., :rows], -1, -2)


def num_rows(samples: int, definition: str = "scipy") -> int:
    """Returns the number of times in the scalogram of a signal of that many samples."""
    length = samples - 2
    return length + (definition == "torch" and min(_TORCH_MAX_TAPS, length) % 2 == 0)


def _scipy_bank(length: int) -> tuple[np.ndarray, int]:
    """Correlation taps (taps, scales), and how many of them reach before the current sample."""
    wavelets = []
    for scale in np.arange(_LOWEST_SCALE, NUM_SCALES):
        # The support stays a fraction here, as in scipy: it decides both length and centre.
        points = min(10 * scale, length)
        wavelets.append(_ricker(np.arange(0, points) - (points - 1) / 2, scale))
    before = max(len(w) // 2 for w in wavelets)
    after = max((len(w) - 1) // 2 for w in wavelets)
    bank = np.zeros((before + 1 + after, NUM_SCALES))
    for i, wavelet in enumerate(wavelets):
        # scipy convolves with the reversed wavelet, which is to correlate with the wavelet; of an
        # even number of taps the 'same' mode leaves the extra one in the past.
        start = before - len(wavelet) // 2
        bank[start : start + len(wavelet), i] = wavelet
    return bank, before


def _torch_bank(length: int) -> tuple[np.ndarray, int]:
    taps = min(_TORCH_MAX_TAPS, length)
    at = (np.arange(taps) - (taps - 1) / 2)[:, None]
    scales = np.arange(_LOWEST_SCALE, NUM_SCALES).astype(np.float32)
    return _ricker(at, scales.astype(np.float64)), taps // 2


def _ricker(at: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """The Ricker ("Mexican hat") wavelet at times `at`, unit energy on the continuous axis."""
    ratio = np.square(at / scale)
    return 2 / (np.sqrt(3 * scale) * np.pi**0.25) * (1 - ratio) * np.exp(-ratio / 2)
