"""Distances between the bridged path's tokens and the old encoder's own, one value per window.

Alignment losses take (batch, tokens, features) and look at the whole tensor of a window, not at its
token mean (BioX-Bridge, arXiv 2510.02276, section 3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from model_ports.errors import InputError

# (predicted, target) -> (batch,)
Alignment = Callable[[jax.Array, jax.Array], jax.Array]
CONTRASTIVE = "info_nce"


def cosine(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - cos over the flattened (tokens, features) tensor, (batch,).

    The squares carry PyTorch's 1e-12, so that an all-zero prediction has a gradient.
    """
    return 1 - _cosines(_flat(predicted), _flat(target))


def token_cosine(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """1 - cos of each token's features, mean over tokens, (batch,)."""
    similar = _cosines(predicted.astype(jnp.float32), target.astype(jnp.float32))
    return 1 - similar.mean(axis=1)


def l1(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference over (tokens, features), (batch,)."""
    return jnp.abs(_flat(predicted) - _flat(target)).mean(axis=1)


def mse(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference over (tokens, features), (batch,)."""
    return jnp.square(_flat(predicted) - _flat(target)).mean(axis=1)


def info_nce(
    predicted: jax.Array, target: jax.Array, valid: jax.Array, *, temperature: float,
    axis_name: str | None = None,
) -> jax.Array:
    """Cross-entropy of picking a window's own target among those of the whole batch, (batch,).

    InfoNCE (van den Oord et al., 2018) on cosine similarities of flattened tensors. The reference
    names it for one direction and has no code for it.

    Args:
        predicted, target: (batch, tokens, features).
        valid: (batch,) 0 for padding, which is nobody's negative.
        temperature: divides the similarities.
        axis_name: mapped axis whose devices hold the rest of the batch; their targets are
            gathered.
    """
    x, y = _unit(_flat(predicted)), _unit(_flat(target))
    first = 0
    if axis_name is not None:
        first = jax.lax.axis_index(axis_name) * x.shape[0]
        y, valid = (jax.lax.all_gather(a, axis_name, tiled=True) for a in (y, valid))
    # TF32 or bfloat16 products would be coarser than the differences between similar windows.
    similar = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST) / temperature
    similar = jnp.where(valid > 0, similar, -jnp.inf)
    own = first + jnp.arange(x.shape[0])
    # A padded row finds its own target masked: its loss is infinite, its weight 0.
    return cross_entropy(similar, own)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of integer labels, (batch,)."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]


def soft_cross_entropy(logits: jax.Array, target_logits: jax.Array) -> jax.Array:
    """Cross-entropy of softmax(logits) against softmax(target_logits), (batch,)."""
    target = jax.nn.softmax(target_logits.astype(jnp.float32))
    return -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=1)


PAIRWISE: dict[str, Alignment] = {
    "cosine": cosine, "token_cosine": token_cosine, "l1": l1, "mse": mse,
}
NAMES = (*PAIRWISE, CONTRASTIVE)


def check_name(name: str) -> None:
    """Refuses an unknown alignment loss (`InputError`)."""
    if name not in NAMES:
        raise InputError(f"there is no loss {name!r}; there are {', '.join(NAMES)}.")


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1).astype(jnp.float32)


def _cosines(x: jax.Array, y: jax.Array) -> jax.Array:
    norms = (jnp.sum(x * x, axis=-1) + 1e-12) * (jnp.sum(y * y, axis=-1) + 1e-12)
    return jnp.sum(x * y, axis=-1) * jax.lax.rsqrt(norms)


def _unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
