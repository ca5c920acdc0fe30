"""Resampling along the last axis, in JAX. Lengths and rates are static, so are the weights.

All functions take (..., samples) float32; those but `resample` are to be called inside jit.
"""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal

from model_ports.errors import InputError

METHODS = ("linear", "polyphase")
# Ratios beyond this need filters of a size that only a mistyped rate asks for.
_MAX_FACTOR = 1000


@functools.partial(jax.jit, static_argnames=("old_hz", "new_hz", "method"))
def resample(signal: jax.Array, *, old_hz: float, new_hz: float, method: str) -> jax.Array:
    """Applies `linear` or `polyphase`; the signal itself where the rates are equal.

    Raises:
        InputError: another method, or see the two.
    """
    if method not in METHODS:
        raise InputError(f"resampling={method!r} is unknown; use {' or '.join(map(repr, METHODS))}.")
    if old_hz == new_hz:
        return signal
    return (linear if method == "linear" else polyphase)(signal, old_hz, new_hz)


def linear(signal: jax.Array, old_hz: float, new_hz: float) -> jax.Array:
    """Linear interpolation onto `num_new = int(num_old * (new_hz / old_hz))` samples.

    The rule of ECG-FM's pipeline, which BioX-Bridge uses throughout: the old samples stand at
    linspace(0, num_new - 1, num_old) and are read at 0, 1, ..., num_new - 1. There is no
    anti-alias filter: when the rate falls, what lies above new_hz / 2 folds back.

    Raises:
        InputError: fewer than two samples before or after.
    """
    num_old = signal.shape[-1]
    # This order of operations is the rule's and decides the length in border cases.
    num_new = int(num_old * (new_hz / old_hz))
    _check_length(num_old, num_new, old_hz, new_hz)
    stands = np.linspace(0, num_new - 1, num_old)
    read = np.arange(num_new)
    low = np.clip(np.searchsorted(stands, read, side="right") - 1, 0, num_old - 2)
    share = ((read - stands[low]) / (stands[low + 1] - stands[low])).astype(np.float32)
    return signal[..., low] * (1 - share) + signal[..., low + 1] * share


def polyphase(signal: jax.Array, old_hz: float, new_hz: float) -> jax.Array:
    """Resampling with a zero-phase anti-alias filter, SciPy's default (Kaiser window, beta 5).

    Sample k of the floor(n * new_hz / old_hz) results stands at k / new_hz seconds. The line
    through first and last sample is taken out before and put back after, so that an offset or
    drift makes no edge.

    Raises:
        InputError: fewer than two samples before or after, or rates whose ratio is no fraction of
            integers up to 1000.
    """
    ratio = Fraction(new_hz / old_hz).limit_denominator(_MAX_FACTOR)
    up, down = ratio.numerator, ratio.denominator
    if not 0 < up <= _MAX_FACTOR or abs(up / down * old_hz / new_hz - 1) > 1e-9:
        raise InputError(
            f"{old_hz:g} Hz to {new_hz:g} Hz is no ratio of integers up to {_MAX_FACTOR}, which "
            "polyphase resampling needs; use resampling='linear' for this recording."
        )
    num_old = signal.shape[-1]
    num_new = num_old * up // down
    _check_length(num_old, num_new, old_hz, new_hz)
    start = signal[..., :1]
    slope = (signal[..., -1:] - start) / (num_old - 1)
    flat = signal - start - slope * np.arange(num_old, dtype=np.float32)
    kernel, first = _polyphase_kernel(up, down)
    # Result q * up + r is channel r of frame q: one convolution with stride `down`.
    frames = -(-num_new // up)
    padding = (-first, (frames - 1) * down + kernel.shape[-1] + first - num_old)
    out = jax.lax.conv_general_dilated(
        flat.reshape(-1, 1, num_old), jnp.asarray(kernel), (down,), (padding,),
        dimension_numbers=("NCH", "OIH", "NCH"), precision=jax.lax.Precision.HIGHEST,
    )
    out = jnp.swapaxes(out, 1, 2).reshape(*signal.shape[:-1], frames * up)[..., :num_new]
    return out + start + slope * (np.arange(num_new) * (down / up)).astype(np.float32)


def _polyphase_kernel(up: int, down: int) -> tuple[np.ndarray, int]:
    """Weights (up, 1, width) of result q * up + r on samples q * down + first, ..."""
    half = 10 * max(up, down)
    taps = scipy.signal.firwin(2 * half + 1, 1 / max(up, down), window=("kaiser", 5.0)) * up
    first, last = -(half // up), ((up - 1) * down + half) // up
    at = half + down * np.arange(up)[:, None] - up * np.arange(first, last + 1)
    inside = (at >= 0) & (at <= 2 * half)
    kernel = np.where(inside, taps[np.where(inside, at, 0)], 0)
    return kernel.astype(np.float32)[:, None], first


def fourier(signal: jax.Array, old_hz: float, new_hz: float) -> jax.Array:
    """Resampling to `int(n * new_hz / old_hz)` samples in the frequency domain.

    As scipy.signal.resample: band-limited, and periodic, so that a jump from last to first sample
    rings at both ends.

    Raises:
        InputError: fewer than two samples before or after.
    """
    num_old = signal.shape[-1]
    num_new = int(num_old * new_hz / old_hz)
    _check_length(num_old, num_new, old_hz, new_hz)
    if num_new == num_old:
        return signal
    shorter = min(num_old, num_new)
    spectrum = jnp.fft.rfft(signal)[..., : shorter // 2 + 1]
    if shorter % 2 == 0:
        # The highest frequency stands for itself and its mirror image on one side only.
        spectrum = spectrum.at[..., -1].multiply(2 if num_new < num_old else 0.5)
    return jnp.fft.irfft(spectrum, num_new) * np.float32(num_new / num_old)


def _check_length(num_old: int, num_new: int, old_hz: float, new_hz: float) -> None:
    if num_old < 2 or num_new < 2:
        raise InputError(
            f"{num_old} samples at {old_hz:g} Hz are too short to resample to {new_hz:g} Hz; "
            "take a longer recording."
        )
