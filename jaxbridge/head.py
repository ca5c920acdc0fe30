"""The task head on token means of the old encoder's last layer."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports.errors import InputError


class TaskHead(nnx.Module):
    """Linear, or linear-ReLU-linear, from (batch, features) to (batch, num_classes) logits.

    Args:
        features: width of the old encoder's last layer.
        num_classes: number of classes, at least 2.
        hidden: width of a hidden layer (the reference uses 32); None for a linear head.
        rngs: source of the initial values (uniform within +-1/sqrt(fan_in), as PyTorch).
        context: what the old encoder's layers need besides tokens when there is no old signal:
            the mean of `Encoder.context` over the old training windows, leading axis 1.

    Raises:
        InputError: fewer than two classes.
    """

    def __init__(
        self, features: int, num_classes: int, *, rngs: nnx.Rngs, hidden: int | None = None,
        context: Any = (),
    ):
        if num_classes < 2:
            raise InputError(f"a task head needs at least 2 classes, not {num_classes}.")
        self.num_classes = num_classes
        widths = [features] + ([hidden] if hidden else []) + [num_classes]
        self.layers = nnx.List([
            _linear(fan_in, fan_out, rngs) for fan_in, fan_out in itertools.pairwise(widths)
        ])
        self.keep_context(context)

    def __call__(self, pooled: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.layers):
            pooled = layer(jax.nn.relu(pooled) if i else pooled)
        return pooled

    def keep_context(self, context: Any) -> None:
        """Keeps what the old encoder's layers need besides tokens, leading axis 1."""
        self.context = nnx.data(jax.tree.map(lambda c: nnx.Variable(jnp.asarray(c)), context))

    def context_for(self, batch: int) -> Any:
        """Returns the kept context, repeated for a batch."""
        return jax.tree.map(
            lambda c: jnp.broadcast_to(c[...], (batch, *c.shape[1:])),
            self.context, is_leaf=lambda c: isinstance(c, nnx.Variable),
        )


def _linear(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any, *_: Any) -> jax.Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(fan_in, fan_out, kernel_init=uniform, bias_init=uniform, rngs=rngs)
