"""The trainable part: a low-rank map and prototypes (BioX-Bridge, ICLR 2026, section 3)."""

import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports.errors import InputError

Layout = Literal["paper", "reinterpret"]


def mixed_prototypes(
    pooled: jax.Array, a: jax.Array, b: jax.Array, prototypes: jax.Array, *, tokens: int,
    layout: Layout = "paper",
) -> jax.Array:
    """`(z A B) P`, (batch, in_features) -> (batch, tokens, features); see `PrototypeBridge`."""
    mixture = (pooled @ a @ b).reshape(pooled.shape[0], tokens, -1)
    out = mixture @ prototypes
    if layout == "reinterpret":
        out = out.transpose(0, 2, 1).reshape(out.shape)
    return out


class PrototypeBridge(nnx.Module):
    """`h = (z A B) P`: every token of the old layer's input is a mixture of prototypes.

    Parameters, `rank*in_features + rank*tokens*num_prototypes + num_prototypes*features` in all:
        low_rank_a: A, (in_features, rank), uniform within +-1/sqrt(in_features).
        low_rank_b: B, (rank, tokens*num_prototypes), zeros; column t*num_prototypes + p.
        prototypes: P, (num_prototypes, features), standard normal, or given.

    Args:
        in_features: width of the new encoder's chosen layer.
        tokens: tokens of the old layer's input.
        features: width of the old layer's input.
        rank: rank of the map.
        num_prototypes: number of prototypes.
        rngs: source of the initial values.
        prototypes: initial prototypes, (num_prototypes, features), such as real input vectors of
            the old layer.
        layout: "paper" follows the formula; "reinterpret" reproduces what the authors' code does
            with LaBraM as the old encoder: the (features, tokens) result is read as
            (tokens, features) without a transpose, which scrambles both.

    Raises:
        InputError: a size below 1, an unknown layout, or prototypes of another shape.
    """

    def __init__(
        self,
        in_features: int,
        tokens: int,
        features: int,
        *,
        rank: int,
        num_prototypes: int,
        rngs: nnx.Rngs,
        prototypes: jax.Array | None = None,
        layout: Layout = "paper",
    ):
        sizes = {
            "in_features": in_features, "tokens": tokens, "features": features,
            "rank": rank, "num_prototypes": num_prototypes,
        }
        if bad := {k: v for k, v in sizes.items() if v < 1}:
            raise InputError(f"a bridge needs sizes of at least 1, not {bad}.")
        if layout not in ("paper", "reinterpret"):
            raise InputError(f"layout is {layout!r}; use 'paper' or 'reinterpret'.")
        self.tokens, self.features, self.layout = tokens, features, layout
        bound = 1 / math.sqrt(in_features)
        self.low_rank_a = nnx.Param(
            jax.random.uniform(rngs.params(), (in_features, rank), minval=-bound, maxval=bound)
        )
        self.low_rank_b = nnx.Param(jnp.zeros((rank, tokens * num_prototypes)))
        if prototypes is None:
            prototypes = jax.random.normal(rngs.params(), (num_prototypes, features))
        elif prototypes.shape != (num_prototypes, features):
            raise InputError(
                f"initial prototypes are {tuple(prototypes.shape)}, "
                f"must be ({num_prototypes}, {features})."
            )
        self.prototypes = nnx.Param(jnp.asarray(prototypes, jnp.float32))

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """(batch, in_features) -> (batch, tokens, features)."""
        return mixed_prototypes(
            pooled, self.low_rank_a[...], self.low_rank_b[...], self.prototypes[...],
            tokens=self.tokens, layout=self.layout,
        )

    @classmethod
    def from_reference(
        cls, state_dict: Mapping[str, np.ndarray], *, layout: Layout = "paper"
    ) -> "PrototypeBridge":
        """Returns the bridge that the authors' code saved.

        Args:
            state_dict: `A` (rank, in_features), `B` (num_prototypes*tokens, rank) with row
                p*tokens + t, `prototypes` (features, num_prototypes).
            layout: as for the class; the authors' LaBraM bridges need "reinterpret".

        Raises:
            InputError: entries are missing or do not fit each other.
        """
        if missing := sorted({"A", "B", "prototypes"} - set(state_dict)):
            raise InputError(f"the bridge's state dict lacks {', '.join(missing)}.")
        a, b, prototypes = (np.asarray(state_dict[k], np.float32) for k in ("A", "B", "prototypes"))
        rank, in_features = a.shape
        features, num_prototypes = prototypes.shape
        if b.shape[1] != rank or b.shape[0] % num_prototypes:
            raise InputError(
                f"A {a.shape}, B {b.shape} and prototypes {prototypes.shape} do not fit together: "
                "B must be (num_prototypes*tokens, rank)."
            )
        tokens = b.shape[0] // num_prototypes
        bridge = cls(
            in_features, tokens, features, rank=rank, num_prototypes=num_prototypes,
            rngs=nnx.Rngs(0), prototypes=prototypes.T, layout=layout,
        )
        bridge.low_rank_a.set_value(jnp.asarray(a.T))
        by_token = b.reshape(num_prototypes, tokens, rank).transpose(2, 1, 0)
        bridge.low_rank_b.set_value(jnp.asarray(by_token.reshape(rank, tokens * num_prototypes)))
        return bridge


def num_parameters(module: nnx.Module) -> int:
    """Returns the number of values in all of a module's parameters."""
    return sum(p.size for p in jax.tree.leaves(nnx.state(module, nnx.Param)))
