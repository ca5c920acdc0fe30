"""Distances between the bridged path's tokens and the old encoder's own, one value per window."""

import jax
import jax.numpy as jnp


def cosine(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - cos over the flattened (tokens, features) tensor, (batch,).

    The squares carry PyTorch's 1e-12, so that an all-zero prediction has a gradient.
    """
    batch = predicted.shape[0]
    x = predicted.reshape(batch, -1).astype(jnp.float32)
    y = target.reshape(batch, -1).astype(jnp.float32)
    norms = (jnp.sum(x * x, axis=1) + 1e-12) * (jnp.sum(y * y, axis=1) + 1e-12)
    return 1 - jnp.sum(x * y, axis=1) * jax.lax.rsqrt(norms)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of integer labels, (batch,)."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
