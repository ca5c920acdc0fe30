"""The convolution whose gradients are matrix products: the same values as XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_ports.convolution import convolve

NWC = ("NWC", "WIO", "NWC")


def xla(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(x, kernel, (stride,), padding, dimension_numbers=NWC)


@pytest.mark.parametrize(("tokens", "width", "stride", "padding"), [
    (9, 3, 1, "SAME"), (9, 3, 2, "SAME"), (10, 3, 2, "SAME"), (16, 15, 8, ((7, 7),)),
    (13, 10, 4, "VALID"), (7, 2, 2, "VALID"), (5, 3, 1, ((0, 4),)), (3, 3, 2, "VALID"),
])
def test_values_and_both_gradients_are_those_of_xla(tokens, width, stride, padding):
    x, kernel, change = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate([(2, tokens, 4), (width, 4, 5), (2, tokens, 4)])
    )

    def ours(x, kernel):
        return convolve(x, kernel, (stride,), padding, dimension_numbers=NWC)

    def total(function):
        return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel)))

    np.testing.assert_array_equal(ours(x, kernel), xla(x, kernel, stride, padding))
    wanted = jax.grad(total(lambda x, k: xla(x, k, stride, padding)), (0, 1))(x, kernel)
    for one, other in zip(jax.grad(total(ours), (0, 1))(x, kernel), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    # forward mode too
    _, along = jax.jvp(lambda x: total(ours)(x, kernel), (x,), (change,))
    np.testing.assert_allclose(along, jnp.vdot(wanted[0], change), rtol=1e-4, atol=1e-5)


def test_in_a_loop_the_gradients_hold_no_convolution():
    conv = nnx.Conv(4, 4, (3,), conv_general_dilated=convolve, rngs=nnx.Rngs(0))
    graph, state = nnx.split(conv)

    def step(state, x):
        change = jax.grad(lambda s: jnp.sum(nnx.merge(graph, s)(nnx.merge(graph, s)(x)) ** 2))(state)
        return jax.tree.map(jnp.subtract, state, change), None

    text = jax.jit(lambda s, xs: jax.lax.scan(step, s, xs)[0]).lower(
        state, jnp.ones((3, 2, 9, 4))
    ).as_text()
    assert text.count("stablehlo.convolution") == 2  # the two of the forward pass
