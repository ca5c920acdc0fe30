"""Batch normalisation in inference mode."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd


class BatchNorm(nnx.Module):
    """Normalises the last axis by stored statistics.

    Unlike `nnx.BatchNorm` it has no training mode, so `encoder.train()` cannot change what an
    encoder computes. The statistics are `nnx.BatchStat`, which gradients with respect to
    `nnx.Param` leave alone.
    """

    def __init__(self, features: int, *, epsilon: float = 1e-5):
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.asarray(np.ones(features, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(features, np.float32)))
        self.mean = nnx.BatchStat(jnp.asarray(np.zeros(features, np.float32)))
        self.var = nnx.BatchStat(jnp.asarray(np.ones(features, np.float32)))

    def affine(self) -> tuple[jax.Array, jax.Array]:
        """Returns (slope, offset), each (features,): the layer is slope * x + offset."""
        slope = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
        return slope, self.bias[...] - self.mean[...] * slope

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., features) -> (..., features), computed in float32, returned in `x.dtype`."""
        slope, offset = self.affine()
        return (x.astype(jnp.float32) * slope + offset).astype(x.dtype)


def batch_norm(target: str, source: str) -> list[sd.Entry]:
    """The published entries of a `BatchNorm`."""
    return sd.norm(target, source) + [
        sd.entry(f"{target}.mean", f"{source}.running_mean"),
        sd.entry(f"{target}.var", f"{source}.running_var"),
    ]
