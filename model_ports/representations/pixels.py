"""From arrays of any size to the pixels of a square picture."""

import jax
import jax.numpy as jnp
import numpy as np


def area_weights(cells: int, pixels: int) -> np.ndarray:
    """Returns the share of every pixel that each cell covers, (pixels, cells) float64.

    Cells and pixels are equally wide each and span the same length; rows sum to 1.
    """
    edges = np.linspace(0, pixels, cells + 1)
    left, right = np.arange(pixels)[:, None], np.arange(1, pixels + 1)[:, None]
    return np.clip(np.minimum(edges[1:], right) - np.maximum(edges[:-1], left), 0, None)


def area_taps(cells: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells that every pixel meets, and their shares: both (pixels, taps), as few as will do."""
    weights = area_weights(cells, pixels)
    taps = int((weights > 0).sum(axis=1).max())
    at = np.argmax(weights > 0, axis=1)[:, None] + np.arange(taps)
    share = np.take_along_axis(weights, np.minimum(at, cells - 1), axis=1)
    share[at >= cells] = 0
    return np.minimum(at, cells - 1), share.astype(np.float32)


def area_means(values: jax.Array, size: int) -> jax.Array:
    """(batch, rows, columns) -> (batch, size, size): every pixel is the mean over its area.

    That is how a picture of uniform cells looks through square pixels, be they larger or smaller
    than a cell.
    """
    along = jnp.asarray(area_weights(values.shape[2], size), jnp.float32)
    values = jnp.einsum("brc,xc->brx", values, along, precision="highest")
    # Whole rows are quick to gather, and few meet a pixel: a product would cost far more.
    at, share = map(jnp.asarray, area_taps(values.shape[1], size))

    # A loop keeps XLA on a CPU from doing it all again for each of the three colours that follow.
    def add(k: int, total: jax.Array) -> jax.Array:
        return total + share[:, k, None] * values[:, at[:, k]]

    start = jnp.zeros((values.shape[0], size, size), values.dtype)
    return jax.lax.fori_loop(0, at.shape[1], add, start)


def scaled(values: jax.Array) -> jax.Array:
    """Each picture's smallest value -> 0 and largest -> 1; 0 where all are the same."""
    axes = tuple(range(1, values.ndim))
    low, high = (f(values, axis=axes, keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.where(high > low, (values - low) / jnp.where(high > low, high - low, 1), 0)
