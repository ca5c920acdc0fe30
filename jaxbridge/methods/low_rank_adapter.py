"""Low-rank adapters on the matrices of any encoder (LoRA: Hu et al. 2021, arXiv 2106.09685)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports import Encoder
from model_ports.errors import InputError


class Factors(nnx.Module):
    """An additive update A B of a matrix; B starts at zero, and so does the update.

    Args:
        shape: of the parameter; all axes but the last are the matrix' rows.
        rank: of the update.
        rngs: source of A's initial values, uniform within +-1/sqrt(rows).
    """

    def __init__(self, shape: tuple[int, ...], rank: int, *, rngs: nnx.Rngs):
        rows, bound = math.prod(shape[:-1]), 1 / math.sqrt(math.prod(shape[:-1]))
        self.a = nnx.Param(
            jax.random.uniform(rngs.params(), (rows, rank), minval=-bound, maxval=bound)
        )
        self.b = nnx.Param(jnp.zeros((rank, shape[-1])))

    def update(self, shape: tuple[int, ...]) -> jax.Array:
        return (self.a[...] @ self.b[...]).reshape(shape)


class AdaptedEncoder(nnx.Module):
    """signal -> tokens of an encoder whose matrices are W + A B; W stays as it is.

    Matrices are the parameters named "kernel" with two axes or more, both sides of which, rows and
    the last axis, exceed the rank: linear layers and convolutions of every encoder.

    Args:
        base: the encoder.
        rank: of the updates.
        rngs: source of initial values.

    Raises:
        InputError: a rank below 1, or above what any matrix allows.
    """

    def __init__(self, base: Encoder, rank: int, *, rngs: nnx.Rngs):
        if rank < 1:
            raise InputError(f"the adapters' rank is {rank}; it must be at least 1.")
        shapes = {
            path: leaf[...].shape
            for path, leaf in nnx.to_flat_state(nnx.state(base, nnx.Param))
            if path[-1] == "kernel" and leaf[...].ndim >= 2
            and rank < min(math.prod(leaf[...].shape[:-1]), leaf[...].shape[-1])
        }
        if not shapes:
            raise InputError(f"no matrix of {base.config.name} exceeds rank {rank}; use a lower one.")
        self.base, self.paths = base, tuple(sorted(shapes, key=str))
        self.factors = nnx.List([Factors(shapes[path], rank, rngs=rngs) for path in self.paths])

    def merged(self) -> Encoder:
        """Returns a copy of the encoder with the updates added to its matrices."""
        graph, state = nnx.split(self.base)
        updates = dict(zip(self.paths, self.factors, strict=True))
        flat = [
            (path, leaf.replace(leaf[...] + updates[path].update(leaf[...].shape))
             if path in updates else leaf)
            for path, leaf in nnx.to_flat_state(state)
        ]  # fmt: skip
        return nnx.merge(graph, nnx.from_flat_state(flat))

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns the last layer's output, (batch, tokens, features)."""
        return self.merged()(signal)
