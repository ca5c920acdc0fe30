"""Batch normalisation: by stored statistics, or while an encoder is trained by the batch's own."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports.batch_groups import whole_batches


class _Batch(NamedTuple):
    """The batch whose statistics count: weight of each row, and the axis with its other parts."""

    valid: jax.Array | None
    axis_name: str | None


_batch: contextvars.ContextVar[_Batch | None] = contextvars.ContextVar("batch", default=None)


@contextlib.contextmanager
def batch_statistics(
    valid: jax.Array | None = None, *, axis_name: str | None = None
) -> Iterator[None]:
    """Normalises by the batch's own mean and variance in what is computed inside.

    Every `BatchNorm` that is called also moves its stored statistics towards them, as PyTorch's
    does in training mode: by a tenth (its default momentum), and towards the unbiased variance.

    Args:
        valid: (batch,) 1 for rows that count and 0 for padding; None if all count.
        axis_name: mapped axis whose devices hold the rest of the batch; all of it counts.
    """
    before = _batch.set(_Batch(valid, axis_name))
    try:
        with whole_batches():
            yield
    finally:
        _batch.reset(before)


class BatchNorm(nnx.Module):
    """Normalises the last axis, by stored statistics except within `batch_statistics`.

    Unlike `nnx.BatchNorm` it has no mode of its own, so `encoder.train()` cannot change what an
    encoder computes. The statistics are `nnx.BatchStat`, which gradients with respect to
    `nnx.Param` leave alone.
    """

    def __init__(self, features: int, *, epsilon: float = 1e-5, momentum: float = 0.1):
        self.epsilon, self.momentum = epsilon, momentum
        self.scale = nnx.Param(jnp.asarray(np.ones(features, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(features, np.float32)))
        self.mean = nnx.BatchStat(jnp.asarray(np.zeros(features, np.float32)))
        self.var = nnx.BatchStat(jnp.asarray(np.ones(features, np.float32)))

    def affine(self, x: Callable[[], jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Returns (slope, offset), each (features,): the layer is slope * x + offset.

        Args:
            x: gives what is normalised, (k * batch, ..., features) with the rows of one window
                next to each other; called within `batch_statistics` only.
        """
        mean, var = self.mean[...], self.var[...]
        if (batch := _batch.get()) is not None:
            mean, var = self._of_batch(x(), batch)
        slope = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return slope, self.bias[...] - mean * slope

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., features) -> (..., features), computed in float32, returned in `x.dtype`."""
        slope, offset = self.affine(lambda: x)
        return (x.astype(jnp.float32) * slope + offset).astype(x.dtype)

    def _of_batch(self, x: jax.Array, batch: _Batch) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance of the batch, (features,); the stored ones follow."""
        x, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
        weight = jnp.ones(len(x)) if batch.valid is None else batch.valid
        weight = jnp.repeat(weight, len(x) // len(weight)).reshape(-1, *[1] * (x.ndim - 1))

        def total(values: jax.Array) -> jax.Array:
            summed = jnp.sum(jnp.broadcast_to(weight, values.shape) * values, axis=axes)
            return summed if batch.axis_name is None else jax.lax.psum(summed, batch.axis_name)

        count = total(jnp.ones((*x.shape[:-1], 1)))
        mean = total(x) / count
        var = total(jnp.square(x - mean)) / count
        unbiased = var * count / jnp.maximum(count - 1, 1)
        for stored, found in ((self.mean, mean), (self.var, unbiased)):
            moved = (1 - self.momentum) * stored[...] + self.momentum * found
            stored.set_value(jax.lax.stop_gradient(moved))
        return mean, var


def batch_norm(target: str, source: str) -> list[sd.Entry]:
    """The published entries of a `BatchNorm`."""
    return sd.norm(target, source) + [
        sd.entry(f"{target}.mean", f"{source}.running_mean"),
        sd.entry(f"{target}.var", f"{source}.running_var"),
    ]
