"""Embeddings of all modalities and representations to logits."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.fusion.fuse import Fuse
from jaxbridge.head import TaskHead


class FusionClassifier(nnx.Module):
    """Standardise -> fuse the representations of each modality -> fuse modalities -> head.

    Args:
        embeddings: (windows, modalities, representations, features) of the training windows, of
            which mean and deviation are kept. Features that do not vary are left out (as 0).
        num_classes: number of classes.
        within, across: how representations and how modalities are fused, out of `fuse.FUSIONS`.
        hidden: width of the head's hidden layer; None for a linear head.
        rngs: source of the head's initial values.

    Raises:
        InputError: an unknown fusion, or fewer than two classes.
    """

    def __init__(
        self, embeddings: np.ndarray, num_classes: int, *, within: str, across: str,
        hidden: int | None, rngs: nnx.Rngs,
    ):
        modalities, representations, features = embeddings.shape[1:]
        std = embeddings.std(axis=0)
        varies = std > 1e-6 * np.abs(embeddings).max()
        self.mean = nnx.Variable(jnp.asarray(embeddings.mean(axis=0), jnp.float32))
        self.scale = nnx.Variable(jnp.asarray(varies / np.where(varies, std, 1), jnp.float32))
        self.within = nnx.List([Fuse(within, representations, features) for _ in range(modalities)])
        self.across = Fuse(across, modalities, self.within[0].out_features)
        self.head = TaskHead(self.across.out_features, num_classes, hidden=hidden, rngs=rngs)

    @property
    def num_trained(self) -> int:
        """Parameters that fitting moves."""
        return sum(leaf[...].size for _, leaf in nnx.to_flat_state(nnx.state(self, nnx.Param)))

    def __call__(self, embeddings: jax.Array) -> jax.Array:
        """(batch, modalities, representations, features) -> logits, (batch, num_classes)."""
        embeddings = (embeddings - self.mean[...]) * self.scale[...]
        each = [fuse(embeddings[:, i]) for i, fuse in enumerate(self.within)]
        return self.head(self.across(jnp.stack(each, axis=1)))
