"""Units of recordings, and z-scores."""

import jax
import jax.numpy as jnp
import numpy as np

MICROVOLTS = {"V": 1e6, "mV": 1e3, "uV": 1.0}
# Standard deviation below which a lead of peak 1 holds nothing but float32 rounding.
_FLAT = 1e-6


def to_unit_peak(signal: np.ndarray) -> np.ndarray:
    """Takes out mean and scale of each lead, in float64 on the host, so that float32 suffices.

    For signals that are z-scored in the end, to which neither matters.

    Args:
        signal: (..., samples), not constant.

    Returns:
        (..., samples) float32 of mean 0 and largest magnitude 1.
    """
    centred = signal - signal.mean(axis=-1, keepdims=True, dtype=np.float64)
    return (centred / np.abs(centred).max(axis=-1, keepdims=True)).astype(np.float32)


@jax.jit
def zscore(signal: jax.Array) -> jax.Array:
    """Zero mean and unit standard deviation (ddof 0) along the last axis.

    Args:
        signal: (..., samples) that had peak 1 before it was filtered. Where a filter has left
            rounding noise only, the result is 0.
    """
    centred = signal - jnp.mean(signal, axis=-1, keepdims=True)
    std = jnp.sqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True))
    flat = std < _FLAT
    return jnp.where(flat, 0, centred / jnp.where(flat, 1, std))
