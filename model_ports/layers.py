"""Operations that several encoders share, as PyTorch computes them."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports.batch_groups import in_groups


def gelu(x: jax.Array) -> jax.Array:
    """Exact (erf) GELU; the tanh form differs by 2e-4 of the maximum."""
    return 0.5 * x * (1.0 + jax.lax.erf(x * jnp.asarray(0.5**0.5, x.dtype)))


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation of the last axis; the variance is that of the centred values.

    The rule for its gradient needs the normalised values and two means, where differentiating the
    forward pass step by step makes five.
    """

    def __init__(self, features: int, *, epsilon: float, dtype: jnp.dtype, rngs: nnx.Rngs):
        super().__init__(
            features, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., features) -> (..., features), computed in float32, returned in `dtype`."""
        y = _standardised(x.astype(jnp.float32), self.epsilon)
        return (y * self.scale[...] + self.bias[...]).astype(self.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _standardised(x: jax.Array, epsilon: float) -> jax.Array:
    return _standardised_and_slope(x, epsilon)[0]


def _standardised_and_slope(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    slope = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    return centred * slope, slope


@_standardised.defjvp
def _standardised_jvp(epsilon, primals, tangents):
    (x,), (change,) = primals, tangents
    y, slope = _standardised_and_slope(x, epsilon)
    along = jnp.mean(y * change, axis=-1, keepdims=True)
    return y, slope * (change - jnp.mean(change, axis=-1, keepdims=True) - y * along)


def attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Softmax attention on (batch, heads, tokens, head_dim); the query is scaled already.

    Written as two batched matrix products with heads before tokens: on CPU this is twice as fast
    as `jax.nn.dot_product_attention`, whose layout is (batch, tokens, heads, head_dim).
    """
    batch, heads, tokens, _ = query.shape
    out = in_groups(
        lambda parts: _attention(*parts),
        tuple(x.reshape(batch * heads, *x.shape[2:]) for x in (query, key, value)),
        bytes_each=12 * tokens * key.shape[2],  # logits, exponentials, weights
    )
    return out.reshape(batch, heads, tokens, value.shape[-1])


def _attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    return _weighted(jnp.einsum("nqd,nkd->nqk", query, key), value)


@jax.custom_jvp
def _weighted(logits: jax.Array, value: jax.Array) -> jax.Array:
    """softmax(logits) times value, divided by the sum of exponentials after the product.

    So nothing of the size of the logits is divided, in the backward pass neither.
    """
    weights, total = _exponentials(logits)
    return _product(weights, value, total)


def _exponentials(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    logits = logits.astype(jnp.float32)
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    return weights, jnp.sum(weights, axis=-1, keepdims=True)


def _product(weights: jax.Array, value: jax.Array, total: jax.Array) -> jax.Array:
    product = jnp.einsum("nqk,nkd->nqd", weights.astype(value.dtype), value)
    return (product / total).astype(value.dtype)


@_weighted.defjvp
def _weighted_jvp(primals, tangents):
    (logits, value), (change, value_change) = primals, tangents
    weights, total = _exponentials(logits)
    mean = jnp.sum(weights * change, axis=-1, keepdims=True) / total
    out_change = _product(weights * (change - mean), value, total)
    return _product(weights, value, total), out_change + _product(weights, value_change, total)


def split_heads(x: jax.Array, num_heads: int) -> jax.Array:
    """(batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
    batch, tokens, features = x.shape
    return x.reshape(batch, tokens, num_heads, features // num_heads).transpose(0, 2, 1, 3)


def merge_heads(x: jax.Array) -> jax.Array:
    """(batch, heads, tokens, head_dim) -> (batch, tokens, heads * head_dim)."""
    batch, heads, tokens, head_dim = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * head_dim)
