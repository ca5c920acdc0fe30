"""Several embeddings to one."""

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports.errors import InputError

FUSIONS = ("concatenate", "add", "gate")


class Fuse(nnx.Module):
    """(batch, sources, features) -> (batch, out_features).

    "concatenate" puts the embeddings side by side, "add" sums them, "gate" weighs each by a
    softmax over the sources of a linear score of its own features and sums. Gates start equal: as
    the mean.

    Args:
        kind: one of `FUSIONS`.
        sources: how many embeddings.
        features: width of each.

    Raises:
        InputError: an unknown kind.
    """

    def __init__(self, kind: str, sources: int, features: int):
        if kind not in FUSIONS:
            raise InputError(f"there is no fusion {kind!r}; there are {', '.join(FUSIONS)}.")
        self.kind = kind
        self.out_features = sources * features if kind == "concatenate" else features
        if kind == "gate":
            self.score = nnx.Param(jnp.zeros((sources, features)))
            self.offset = nnx.Param(jnp.zeros(sources))

    def gates(self, embeddings: jax.Array) -> jax.Array:
        """Returns the weight of every source, (batch, sources); rows sum to 1. For "gate" only."""
        scores = jnp.einsum("bsf,sf->bs", embeddings, self.score[...])
        return jax.nn.softmax(scores + self.offset[...])

    def __call__(self, embeddings: jax.Array) -> jax.Array:
        if self.kind == "concatenate":
            return embeddings.reshape(len(embeddings), -1)
        if self.kind == "gate":
            embeddings = embeddings * self.gates(embeddings)[..., None]
        return embeddings.sum(axis=1)
