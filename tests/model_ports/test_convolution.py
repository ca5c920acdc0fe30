"""The convolution whose gradients are fast on a CPU: the same values as XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_ports.convolution import convolve

NWC = ("NWC", "WIO", "NWC")


def convolved(convolution, stride, padding, groups):
    return lambda x, kernel: convolution(
        x, kernel, (stride,), padding, dimension_numbers=NWC, feature_group_count=groups
    )


@pytest.mark.parametrize(("tokens", "width", "stride", "padding", "groups"), [
    (9, 3, 1, "SAME", 1), (9, 3, 2, "SAME", 1), (10, 3, 2, "SAME", 1), (16, 15, 8, ((7, 7),), 1),
    (13, 10, 4, "VALID", 1), (7, 2, 2, "VALID", 1), (5, 3, 1, ((0, 4),), 1),
    (3, 3, 2, "VALID", 1), (9, 4, 1, ((2, 2),), 2), (9, 4, 1, "VALID", 4), (3, 8, 1, ((4, 4),), 2),
    (5, 3, 1, ((0, 4),), 2), (9, 3, 2, "SAME", 2),
])
@pytest.mark.slow
def test_values_and_both_gradients_are_those_of_xla(tokens, width, stride, padding, groups):
    x, kernel, change = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate([(2, tokens, 4), (width, 4 // groups, 8), (2, tokens, 4)])
    )

    def total(function):
        return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel)))

    ours = convolved(convolve, stride, padding, groups)
    xla = convolved(jax.lax.conv_general_dilated, stride, padding, groups)
    np.testing.assert_array_equal(ours(x, kernel), xla(x, kernel))
    wanted = jax.grad(total(xla), (0, 1))(x, kernel)
    for one, other in zip(jax.grad(total(ours), (0, 1))(x, kernel), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    # forward mode too
    _, along = jax.jvp(lambda x: total(ours)(x, kernel), (x,), (change,))
    np.testing.assert_allclose(along, jnp.vdot(wanted[0], change), rtol=1e-4, atol=1e-5)
    # over many kernels at once
    many = jax.vmap(jax.grad(total(ours), (0, 1)), (None, 0))(x, jnp.stack([kernel, -kernel]))
    for one, other in zip(many, wanted, strict=True):
        np.testing.assert_allclose(one[0], other, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_grouped_convolution_keep_the_order_of_axes_that_is_fast():
    gradients = jax.grad(
        lambda x, k: jnp.sum(convolved(convolve, 1, ((2, 2),), 2)(x, k) ** 2), (0, 1)
    )
    text = jax.jit(gradients).lower(jnp.ones((2, 9, 4)), jnp.ones((4, 2, 8))).as_text()
    assert text.count("[b, 0, f]x[0, i, o]->[b, 0, f]") == text.count("stablehlo.convolution") == 3
    assert text.count("batch_group_count = 1 ") == 3


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
