"""Initial values: those of jax.nn.initializers, with few compilations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from model_ports import initialisers

SHAPES = ((3, 5), (3, 7, 4, 10), (70, 60), (600, 500))  # the last is drawn whole


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), [
    (initialisers.normal(0.3), nnx.initializers.normal(0.3)),
    (initialisers.variance_scaling(1 / 3, "fan_in", "uniform"),
     nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")),
    (initialisers.variance_scaling(2.0, "fan_out", "normal"),
     nnx.initializers.variance_scaling(2.0, "fan_out", "normal")),
    (initialisers.variance_scaling(1.0, "fan_avg", "uniform"), nnx.initializers.xavier_uniform()),
])
@pytest.mark.slow
def test_values_are_those_of_jax(ours, theirs, shape):
    key = jax.random.key(3)
    want = theirs(key, shape, jnp.float32)
    for got in (ours(key, shape, jnp.float32), jax.jit(lambda key: ours(key, shape))(key)):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, want, rtol=3e-7)


def test_uniform_fills_its_limits():
    values = np.asarray(initialisers.uniform(0.25)(jax.random.key(0), (500, 40)))
    assert -0.25 <= values.min() < -0.249 and 0.249 < values.max() < 0.25
    assert abs(values.mean()) < 0.005


def test_an_encoder_of_many_shapes_compiles_few_generators(monkeypatch):
    compiled = set()
    draw = initialisers._draw
    monkeypatch.setattr(
        initialisers, "_draw",
        lambda key, size, distribution: compiled.add((size, distribution))
        or draw(key, size, distribution),
    )
    encoder = mp.create("tiny_biomoe", rngs=nnx.Rngs(0))
    shapes = {leaf.shape for leaf in jax.tree.leaves(nnx.state(encoder, nnx.Param))}
    assert len(shapes) > 60
    assert len(compiled) <= 10
