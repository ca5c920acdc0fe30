"""The band-passed ECG that BioX-Bridge feeds to HuBERT-ECG and ECG-DualNet."""

import functools

import jax

from model_ports.filtering import fir_bandpass
from model_ports.resampling import resample
from model_ports.scaling import zscore

_FILTER_HZ, _LOW_HZ, _HIGH_HZ, _ORDER = 500.0, 0.05, 47.0, 150
# Slower recordings cannot hold what the band pass lets through.
MIN_SAMPLING_RATE_HZ = 2 * _HIGH_HZ


@functools.partial(jax.jit, static_argnames=("old_hz", "new_hz", "resampling"))
def band_passed(signal: jax.Array, *, old_hz: float, new_hz: float, resampling: str) -> jax.Array:
    """To 500 Hz, 0.05 to 47 Hz by a zero-phase FIR filter of order 150, to `new_hz`, z-scored.

    A filter of 0.3 s cannot tell 0.05 Hz from 0: it is in effect a low pass. It stands before the
    last resampling, so that linear interpolation folds nothing there; on the way from a higher
    rate to 500 Hz it folds what lies above 250 Hz.

    Args:
        signal: (batch, leads, samples) of peak 1.
        old_hz: rate of the signal.
        new_hz: rate of the result.
        resampling: see `model_ports.resampling.resample`.

    Returns:
        (batch, leads, samples at new_hz).

    Raises:
        InputError: the signal is too short for the filter, 0.906 s, or for the resampling.
    """
    signal = resample(signal, old_hz=old_hz, new_hz=_FILTER_HZ, method=resampling)
    signal = fir_bandpass(signal, _FILTER_HZ, _LOW_HZ, _HIGH_HZ, _ORDER)
    return zscore(resample(signal, old_hz=_FILTER_HZ, new_hz=new_hz, method=resampling))
