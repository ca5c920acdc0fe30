"""How PyTorch initialises its linear and convolution layers when nothing else is said."""

import math
from collections.abc import Sequence

import jax
from flax import nnx

# kaiming_uniform_(a=sqrt(5)), which is uniform within 1/sqrt(fan_in)
kernel_init = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def bias_init(fan_in: int) -> nnx.initializers.Initializer:
    """Uniform within 1/sqrt(fan_in)."""
    limit = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
