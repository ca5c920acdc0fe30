"""Preprocessing steps on plain arrays: signals (leads, samples), rates in Hz.

Computation is in float64. Each step that the reference system (BioX-Bridge) has gives the
reference's numbers; steps of ours are named as such.
"""

from fractions import Fraction

import numpy as np
import scipy  # its `signal` takes half a second to import: it does so at first use

from jaxbridge.data.stages import Interpolated, Samples, Stage, ZeroPhase, whole
from model_ports.errors import InputError

# Ratios beyond this need filters of a size that only a mistyped rate asks for.
_MAX_FACTOR = 1000


def linear_resample(signal: np.ndarray, old_hz: float, new_hz: float) -> np.ndarray:
    """Linear interpolation onto `n_new = int(n * (new_hz / old_hz))` points.

    The reference's rule: the n samples stand at linspace(0, n_new - 1, n) and are read at
    0, 1, ..., n_new - 1, so first and last samples are kept and the end is off by less than one
    new sample. There is no anti-alias filter: when the rate falls, what lies above
    `new_hz / 2` folds back unless it was filtered out before.

    Args:
        signal: (leads, samples).
        old_hz, new_hz: sampling rates.

    Returns:
        (leads, n_new) float64; the signal itself where the rates are equal.

    Raises:
        InputError: fewer than two samples would be left.
    """
    if old_hz == new_hz:
        return np.asarray(signal, np.float64)
    return whole(interpolated(Samples(signal), old_hz, new_hz))


def interpolated(stage: Stage, old_hz: float, new_hz: float) -> Stage:
    """`linear_resample` as a stage."""
    if old_hz == new_hz:
        return stage
    # This order of operations is the reference's and decides the length in border cases.
    num_new = int(stage.num * (new_hz / old_hz))
    if stage.num < 2 or num_new < 2:
        raise InputError(
            f"{stage.num} samples at {old_hz:g} Hz are too short to resample to {new_hz:g} Hz. "
            "Leave the recording out."
        )
    return Interpolated(stage, num_new)


def polyphase_resample(signal: np.ndarray, old_hz: float, new_hz: float) -> np.ndarray:
    """Resampling with an anti-alias filter (zero-phase Kaiser-windowed FIR, SciPy's default).

    Not in the reference, and the right thing where the rate falls. Sample k of the result stands at
    exactly k / new_hz seconds. The line through first and last sample is taken out before
    and put back after, so an offset or drift makes no edge and is kept exactly (the filter's phases
    differ in gain by up to 1e-3).

    Args:
        signal: (leads, samples).
        old_hz, new_hz: sampling rates, their ratio a fraction of integers up to 1000.

    Returns:
        (leads, floor(n * new_hz / old_hz)) float64; the signal itself where the rates are equal.

    Raises:
        InputError: the ratio of the rates is no such fraction.
    """
    signal = np.asarray(signal, np.float64)
    if old_hz == new_hz:
        return signal
    ratio = Fraction(new_hz / old_hz).limit_denominator(_MAX_FACTOR)
    if ratio.numerator > _MAX_FACTOR or abs(float(ratio) * old_hz / new_hz - 1) > 1e-9:
        raise InputError(
            f"{old_hz:g} Hz to {new_hz:g} Hz is no ratio of small integers, which polyphase "
            "resampling needs. Use linear resampling for this recording."
        )
    num_old = signal.shape[-1]
    num_new = num_old * ratio.numerator // ratio.denominator
    slope = (signal[:, -1:] - signal[:, :1]) / max(num_old - 1, 1)
    flat = signal - signal[:, :1] - slope * np.arange(num_old)
    resampled = scipy.signal.resample_poly(flat, ratio.numerator, ratio.denominator, axis=-1)
    stands = np.arange(num_new) / float(ratio)
    return resampled[:, :num_new] + signal[:, :1] + slope * stands


def fourier_resample(signal: np.ndarray, old_hz: float, new_hz: float) -> np.ndarray:
    """Resampling to `int(n * new_hz / old_hz)` samples in the frequency domain (SciPy's `resample`).

    The reference's rule for PPG: it folds nothing back; a jump from the last to the first sample
    rings at both ends.

    Args:
        signal: (leads, samples).
        old_hz, new_hz: sampling rates.

    Returns:
        (leads, n_new) float64; the signal itself where the rates are equal.

    Raises:
        InputError: fewer than two samples would be left.
    """
    signal = np.asarray(signal, np.float64)
    if old_hz == new_hz:
        return signal
    num_new = int(signal.shape[-1] * new_hz / old_hz)
    if num_new < 2:
        raise InputError(
            f"{signal.shape[-1]} samples at {old_hz:g} Hz are too short to resample to {new_hz:g} "
            "Hz. Leave the recording out."
        )
    return scipy.signal.resample(signal, num_new, axis=-1)


def fir_bandpass(
    signal: np.ndarray, sampling_rate_hz: float, low_hz: float, high_hz: float, order: int
) -> np.ndarray:
    """Zero-phase FIR band pass: Hamming window, `order + 1` taps, run forwards and backwards.

    The reference (through biosppy) uses 0.05 to 47 Hz, order 150, at 500 Hz. A filter of 0.3 s
    cannot tell 0.05 Hz from 0: this one keeps 96 % of a constant offset, and is in effect a low
    pass. Kept, since the published encoders were fed with it.

    Args:
        signal: (leads, samples).
        sampling_rate_hz: of the signal.
        low_hz, high_hz: half-amplitude frequencies of one pass.
        order: even filter order.

    Returns:
        (leads, samples) float64.

    Raises:
        InputError: the signal is not longer than the filter's padding, 3 * (order + 1) samples.
    """
    return whole(fir_bandpassed(Samples(signal), sampling_rate_hz, low_hz, high_hz, order))


def fir_bandpassed(
    stage: Stage, sampling_rate_hz: float, low_hz: float, high_hz: float, order: int
) -> Stage:
    """`fir_bandpass` as a stage."""
    padding = 3 * (order + 1)
    if stage.num <= padding:
        raise InputError(
            f"{stage.num} samples at {sampling_rate_hz:g} Hz are too short for the band-pass "
            f"filter, which needs more than {padding / sampling_rate_hz:g} s. "
            "Leave the recording out."
        )
    taps = scipy.signal.firwin(order + 1, [low_hz, high_hz], pass_zero=False, fs=sampling_rate_hz)
    return ZeroPhase(stage, taps)


def chebyshev_bandpass(
    signal: np.ndarray, sampling_rate_hz: float, low_hz: float, high_hz: float, order: int
) -> np.ndarray:
    """Zero-phase Chebyshev-I band pass with 0.5 dB ripple, run forwards and backwards.

    The reference (as PaPaGei's authors) uses 0.5 to 12 Hz, order 4, for PPG.

    Args:
        signal: (leads, samples).
        sampling_rate_hz: of the signal.
        low_hz, high_hz: edges of the pass band.
        order: of the low-pass prototype; the band pass has twice as many poles.

    Returns:
        (leads, samples) float64.

    Raises:
        InputError: the signal is not longer than the filter's padding, 3 * (2 * order + 1) samples.
    """
    signal = np.asarray(signal, np.float64)
    padding = 3 * (2 * order + 1)
    if signal.shape[-1] <= padding:
        raise InputError(
            f"{signal.shape[-1]} samples at {sampling_rate_hz:g} Hz are too short for the band-pass "
            f"filter, which needs more than {padding / sampling_rate_hz:g} s. "
            "Leave the recording out."
        )
    band = scipy.signal.cheby1(
        order, 0.5, [low_hz, high_hz], "bandpass", fs=sampling_rate_hz, output="sos"
    )
    return scipy.signal.sosfiltfilt(band, signal, axis=-1, padlen=padding)


def zscore(signal: np.ndarray) -> np.ndarray:
    """Zero mean and unit standard deviation (ddof 0) along the last axis; constant becomes 0.

    Args:
        signal: (..., samples).

    Returns:
        (..., samples) float64.
    """
    signal = np.asarray(signal, np.float64)
    centred = signal - signal.mean(axis=-1, keepdims=True)
    std = centred.std(axis=-1, keepdims=True)
    # A constant row comes out of a filter with rounding noise, which must not be blown up to 1.
    flat = std <= 1e-12 * np.abs(signal).max(axis=-1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std))
