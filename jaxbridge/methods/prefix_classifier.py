"""A classifier on one layer of an encoder."""

import jax
from flax import nnx

from jaxbridge.head import TaskHead
from model_ports import Encoder
from model_ports.encoder import Pool


class PrefixClassifier(nnx.Module):
    """Layers 0 to `stop` - 1 -> pool -> head.

    Args:
        encoder: any encoder.
        stop: how many of its layers run.
        pool: how the last of them becomes the head's input.
        head: the classifier.
    """

    def __init__(self, encoder: Encoder, stop: int, pool: Pool, head: TaskHead):
        self.encoder, self.stop, self.pool, self.head = encoder, stop, pool, head

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        encoder = self.encoder
        tokens = encoder.run(encoder.embed(signal), 0, self.stop, encoder.context(signal))
        return self.head(encoder.pooled(tokens, self.pool))
