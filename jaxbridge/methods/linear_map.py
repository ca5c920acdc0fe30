"""A full linear map in the place of a bridge, and its three closed forms.

All are solved in float64, which stays inside: raw features of encoders span more than float32 holds.
"""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from threadpoolctl import threadpool_limits

from jaxbridge.methods.cost import Program

# eigh and svd are slower, sometimes by far, with several OpenBLAS threads.
_ONE_THREAD = functools.partial(threadpool_limits, 1, user_api="blas")


class LinearMap(nnx.Module):
    """(batch, in_features) -> (batch, tokens, features), affine.

    Args:
        kernel: (in_features, tokens * features).
        bias: (tokens * features,).
        tokens: of the result.
    """

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, tokens: int):
        self.tokens = tokens
        self.kernel = nnx.Param(jnp.asarray(kernel, jnp.float32))
        self.bias = nnx.Param(jnp.asarray(bias, jnp.float32))

    def __call__(self, pooled: jax.Array) -> jax.Array:
        out = pooled @ self.kernel[...] + self.bias[...]
        return out.reshape(pooled.shape[0], self.tokens, -1)


class Solution(NamedTuple):
    """A closed form's map.

    Attributes:
        kernel: (in_features, outputs) float64.
        bias: (outputs,) float64.
        program: what was run.
        chosen: index of the penalty that was chosen, 0 where there is no choice.
    """

    kernel: np.ndarray
    bias: np.ndarray
    program: Program
    chosen: int = 0


def ridge_map(
    features: np.ndarray, targets: np.ndarray, val_features: np.ndarray, val_targets: np.ndarray,
    penalties: np.ndarray,
) -> Solution:
    """Ridge regression with a free intercept; the penalty of lowest validation error is taken.

    Minimises ||Y - X W - b||^2 + penalty * ||W||^2, scikit-learn's ``Ridge(alpha=penalty)``.

    Args:
        features: (windows, in_features).
        targets: (windows, outputs).
        val_features, val_targets: the same of other windows.
        penalties: (penalties,) positive.
    """
    return _solve(_ridge, features, targets, val_features, val_targets, penalties)


def procrustes_map(features: np.ndarray, targets: np.ndarray) -> Solution:
    """The best rotation (or reflection), one scale and a shift (Schoenemann 1966).

    R minimises ||Y - X R - b|| over matrices with orthonormal columns, or rows where the targets are
    wider; with unequal widths this is the solution for features padded with zeros. The scale gives
    X R the targets' overall deviation: the least-squares one shrinks weakly related features to
    their mean, where a head says the same of every window.

    Args:
        features: (windows, in_features).
        targets: (windows, outputs) of the same windows.
    """
    return _solve(_procrustes, features, targets)


def coral_map(features: np.ndarray, targets: np.ndarray, ridge: float) -> Solution:
    """Gives features the targets' mean and covariance (CORAL: Sun et al. 2016, arXiv 1511.05547).

    Whitens with (C_x + ridge I)^(-1/2) and colours with (C_y + ridge I)^(1/2); the narrower side is
    padded with zeros. Which window goes with which plays no part.

    Args:
        features: (windows, in_features).
        targets: (windows', outputs).
        ridge: added to the covariances, in units of their mean variance.
    """
    return _solve(_coral, features, targets, np.asarray(ridge))


def _solve(function: Any, *arrays: np.ndarray) -> Solution:
    with _ONE_THREAD(), jax.enable_x64(True):
        given = [jnp.asarray(np.asarray(a, np.float64)) for a in arrays]
        kernel, bias, chosen = (np.asarray(x) for x in function(*given))
        started = time.monotonic()
        lowered = function.lower(*given)
        program = Program(lowered, len(arrays[0]), time.monotonic() - started)
        return Solution(kernel, bias, program, int(chosen))


@jax.jit
def _ridge(x, y, x_val, y_val, penalties):
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    values, axes = jnp.linalg.eigh(x.T @ x)
    known = axes.T @ (x.T @ y)
    seen = (x_val - mean_x) @ axes

    def shrunk(penalty):
        return known / (jnp.maximum(values, 0) + penalty)[:, None]

    # No loop of XLA's: its cost analysis would count one penalty for all.
    errors = jnp.stack([jnp.sum((seen @ shrunk(p) + mean_y - y_val) ** 2) for p in penalties])
    chosen = jnp.argmin(errors)
    kernel = axes @ shrunk(penalties[chosen])
    return kernel, mean_y - mean_x @ kernel, chosen


@jax.jit
def _procrustes(x, y):
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    left, _, right = jnp.linalg.svd(x.T @ y, full_matrices=False)
    rotation = left @ right
    kernel = jnp.sqrt(jnp.sum(y**2) / jnp.sum((x @ rotation) ** 2)) * rotation
    return kernel, mean_y - mean_x @ kernel, 0


@jax.jit
def _coral(x, y, ridge):
    width = max(x.shape[1], y.shape[1])
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    whiten = _power(_padded_covariance(x - mean_x, width), -0.5, ridge)
    colour = _power(_padded_covariance(y - mean_y, width), 0.5, ridge)
    kernel = (whiten @ colour)[: x.shape[1], : y.shape[1]]
    return kernel, mean_y - mean_x @ kernel, 0


def _padded_covariance(centred, width):
    covariance = centred.T @ centred / len(centred)
    missing = width - len(covariance)
    return jnp.pad(covariance, ((0, missing), (0, missing)))


def _power(covariance, exponent, ridge):
    values, axes = jnp.linalg.eigh(covariance)
    values = jnp.maximum(values, 0) + ridge * jnp.trace(covariance) / len(covariance)
    return (axes * values**exponent) @ axes.T
