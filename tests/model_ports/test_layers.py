"""Shared operations against JAX's and Flax's own, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from model_ports.layers import LayerNorm, attention


def _heads(count: int, tokens: int, dtype: str = "float32", scale: float = 1.0):
    keys = jax.random.split(jax.random.key(0), 3)
    return [scale * jax.random.normal(key, (2, count, tokens, 5), dtype) for key in keys]


def _plain(q, k, v):
    return jax.nn.softmax(q @ k.mT, axis=-1) @ v


@pytest.mark.parametrize("scale", [1.0, 6.0])  # logits beyond what exp takes at the larger one
def test_attention_and_its_gradient_are_those_of_softmax(scale):
    inputs = _heads(3, 7, scale=scale)
    np.testing.assert_allclose(attention(*inputs), _plain(*inputs), rtol=1e-5, atol=1e-5 * scale)

    def gradients(f):
        return jax.grad(lambda args: jnp.sum(jnp.sin(f(*args))))(inputs)

    for ours, theirs in zip(gradients(attention), gradients(_plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_attention_s_derivatives_agree_with_finite_differences_forward_and_backward():
    check_grads(attention, _heads(1, 4), order=1, modes=("fwd", "rev"), atol=2e-2, rtol=2e-2)


def test_attention_keeps_bfloat16_and_sums_in_float32():
    inputs = _heads(2, 600, "bfloat16")
    found = attention(*inputs)
    assert found.dtype == jnp.bfloat16
    expected = _plain(*(x.astype(jnp.float32) for x in inputs))
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=4e-2)
    assert jax.grad(lambda v: attention(*inputs[:2], v).astype(jnp.float32).sum())(
        inputs[2]
    ).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_norm_is_flax_s(dtype):
    theirs = nnx.LayerNorm(
        6, epsilon=1e-6, use_fast_variance=False, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0)
    )
    ours = LayerNorm(6, epsilon=1e-6, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    for norm in (ours, theirs):
        norm.scale.set_value(jnp.linspace(-1, 2, 6))
        norm.bias.set_value(jnp.linspace(1, 3, 6))
    x = 100 + jax.random.normal(jax.random.key(1), (4, 3, 6)).astype(dtype)  # a mean to cancel
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-2, "atol": 2e-2}
    assert ours(x).dtype == jnp.dtype(dtype)
    np.testing.assert_allclose(ours(x).astype(float), theirs(x).astype(float), **close)

    def gradients(norm):
        def total(norm, x):
            return jnp.sum(jnp.sin(norm(x).astype(jnp.float32)))

        return jax.tree.leaves(nnx.grad(total, argnums=(0, 1))(norm, x))

    for a, b in zip(gradients(ours), gradients(theirs), strict=True):
        np.testing.assert_allclose(
            a.astype(float), b.astype(float), rtol=close["rtol"], atol=close["atol"] * 10
        )


def test_layer_norm_s_derivatives_agree_with_finite_differences():
    norm = LayerNorm(5, epsilon=1e-6, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (3, 5))
    check_grads(norm, (x,), order=1, modes=("fwd", "rev"), atol=2e-2, rtol=2e-2)
