"""Random initial values, compiled once per size class in place of once per shape.

`jax.nn.initializers` compiles a generator for every shape, a third of a CPU second each; an
encoder has up to sixty. Here values are drawn flat in a few sizes, cut and shaped on the host.
They are the same as those of `jax.nn.initializers`, since JAX's default generator derives each
value from the key and the value's flat index.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Distribution = Literal["uniform", "normal"]
# Larger arrays come in few shapes and stay on the device.
_SIZES = (2**12, 2**15, 2**18)


def normal(stddev: float) -> nnx.initializers.Initializer:
    """Normal of mean 0."""
    return lambda key, shape, dtype=jnp.float32: _scaled(key, shape, dtype, "normal", stddev)


def uniform(limit: float) -> nnx.initializers.Initializer:
    """Uniform between -limit and limit."""
    return lambda key, shape, dtype=jnp.float32: _scaled(key, shape, dtype, "uniform", limit)


def variance_scaling(
    scale: float, mode: Literal["fan_in", "fan_out", "fan_avg"], distribution: Distribution
) -> nnx.initializers.Initializer:
    """Variance scale / fan for kernels (..., in, out), as `jax.nn.initializers` counts fans."""

    def init(
        key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32
    ) -> jax.Array:
        taps = math.prod(shape[:-2])
        fan_in, fan_out = (taps * size for size in shape[-2:])
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        width = 3 * scale / fan if distribution == "uniform" else scale / fan
        return _scaled(key, shape, dtype, distribution, math.sqrt(width))

    return init


def _scaled(
    key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike, distribution: Distribution,
    factor: float,
) -> jax.Array:
    size = math.prod(shape)
    if isinstance(key, jax.core.Tracer) or size > _SIZES[-1]:
        return _draw_scaled(key, tuple(shape), distribution, factor).astype(dtype)
    drawn = next(most for most in _SIZES if size <= most)
    values = np.asarray(_draw(key, drawn, distribution))[:size].reshape(shape)
    return jnp.asarray((values * np.float32(factor)).astype(dtype))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_scaled(
    key: jax.Array, shape: tuple[int, ...], distribution: Distribution, factor: float
) -> jax.Array:
    return factor * _draw(key, math.prod(shape), distribution).reshape(shape)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw(key: jax.Array, size: int, distribution: Distribution) -> jax.Array:
    if distribution == "normal":
        return jax.random.normal(key, (size,))
    return jax.random.uniform(key, (size,), minval=-1.0)
