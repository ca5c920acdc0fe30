"""Zero-phase band-pass filters along the last axis, in JAX.

A filter runs forwards and backwards over a signal whose ends are extended by point reflection, as
scipy.signal.filtfilt does with its default padding. Each run starts in the steady state of the
first sample x0, which is to filter x - x0 from rest and to add x0 times the gain at 0 Hz. From rest
a filter is a convolution with its impulse response: taken by FFT it is parallel over time, unlike a
recursion, and float32 suffices even where poles lie next to the unit circle.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.signal

from model_ports.errors import InputError

# Relative l1 norm of the tail of an impulse response that is cut off.
_TAIL = 1e-9


def fir_bandpass(
    signal: jax.Array, sampling_rate_hz: float, low_hz: float, high_hz: float, order: int
) -> jax.Array:
    """Hamming-windowed FIR band pass of `order` + 1 taps, forwards and backwards.

    Args:
        signal: (..., samples).
        sampling_rate_hz: of the signal.
        low_hz, high_hz: half-amplitude frequencies of one run.
        order: even.

    Returns:
        (..., samples).

    Raises:
        InputError: the signal is not longer than the extension, 3 * (order + 1) samples.
    """
    taps = scipy.signal.firwin(
        order + 1, [low_hz, high_hz], pass_zero=False, fs=sampling_rate_hz
    )
    return _both_ways(signal, sampling_rate_hz, taps, float(taps.sum()), 3 * (order + 1))


def chebyshev_bandpass(
    signal: jax.Array, sampling_rate_hz: float, low_hz: float, high_hz: float, order: int,
    ripple_db: float,
) -> jax.Array:
    """Chebyshev-I band pass, forwards and backwards.

    Args:
        signal: (..., samples).
        sampling_rate_hz: of the signal.
        low_hz, high_hz: edges of the pass band.
        order: of the low-pass prototype; the band pass has twice as many poles.
        ripple_db: within the pass band, of one run.

    Returns:
        (..., samples).

    Raises:
        InputError: the signal is not longer than the extension, 3 * (2 * order + 1) samples.
    """
    response = _chebyshev_response(sampling_rate_hz, low_hz, high_hz, order, ripple_db)
    return _both_ways(signal, sampling_rate_hz, response, 0.0, 3 * (2 * order + 1))


@functools.lru_cache
def _chebyshev_response(
    sampling_rate_hz: float, low_hz: float, high_hz: float, order: int, ripple_db: float
) -> np.ndarray:
    sections = scipy.signal.cheby1(
        order, ripple_db, [low_hz, high_hz], "bandpass", fs=sampling_rate_hz, output="sos"
    )
    samples = 1024
    while True:
        impulse = np.zeros(2 * samples)
        impulse[0] = 1
        response = scipy.signal.sosfilt(sections, impulse)
        size = np.abs(response)
        if size[samples:].sum() <= _TAIL * size.sum():
            return response[:samples]
        samples *= 2


def _both_ways(
    signal: jax.Array, sampling_rate_hz: float, response: np.ndarray, gain: float, padding: int
) -> jax.Array:
    samples = signal.shape[-1]
    if samples <= padding:
        raise InputError(
            f"{samples} samples at {sampling_rate_hz:g} Hz are too short for the band-pass filter, "
            f"which needs more than {padding / sampling_rate_hz:g} s; take a longer recording."
        )
    first, last = signal[..., :1], signal[..., -1:]
    before = 2 * first - signal[..., padding:0:-1]
    after = 2 * last - signal[..., -2 : -padding - 2 : -1]
    out = jnp.concatenate([before, signal, after], axis=-1)
    for _ in range(2):
        start = out[..., :1]
        out = (_from_rest(out - start, response) + gain * start)[..., ::-1]
    return out[..., padding:-padding]


def _from_rest(signal: jax.Array, response: np.ndarray) -> jax.Array:
    samples = signal.shape[-1]
    response = response[:samples]
    size = scipy.fft.next_fast_len(samples + len(response) - 1, real=True)
    transfer = np.fft.rfft(response, size).astype(np.complex64)
    return jnp.fft.irfft(jnp.fft.rfft(signal, size) * transfer, size)[..., :samples]
