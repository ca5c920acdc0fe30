"""Dropout within `dropout`, and where PaPaGei has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from model_ports.dropout import dropout, dropped


def _keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def _papagei(depth: int):
    return mp.create("papagei", rngs=nnx.Rngs(0), depth=depth, features=4, embedding_features=4)


def _signal(batch: int, samples: int = 24) -> jax.Array:
    return jax.random.normal(jax.random.key(5), (batch, 1, samples))


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_the_share_is_dropped_and_the_mean_kept(rate):
    x = jnp.ones((10, 101, 99))
    with dropout(rate, _keys(10)):
        y = np.asarray(dropped(x, 0))
    deviation = (rate * (1 - rate) / y.size) ** 0.5
    assert np.mean(y == 0) == pytest.approx(rate, abs=5 * deviation + 1 / 512)
    assert np.mean(y) == pytest.approx(1, abs=5 * deviation / (1 - rate))
    assert set(np.unique(y)) == {0, y.max()}
    # Neither windows nor features nor time steps go together.
    for axis in range(3):
        assert np.std(np.moveaxis(y == 0, axis, 0).reshape(y.shape[axis], -1).mean(1)) < 0.02


def test_places_differ_and_the_rest_of_the_batch_does_not_matter():
    x, keys = jnp.ones((6, 50, 3)), _keys(6)
    with dropout(0.5, keys):
        first, second = dropped(x, 0), dropped(x, 1)
        np.testing.assert_array_equal(first, dropped(x, 0))
    assert 0.4 < np.mean((first == 0) == (second == 0)) < 0.6
    with dropout(0.5, keys[4:]):
        np.testing.assert_array_equal(first[4:], dropped(x[4:], 0))


@pytest.mark.parametrize("depth", [1, 4])
def test_papagei_drops_before_every_convolution_of_a_block_but_the_first(depth):
    encoder, x = _papagei(depth), _signal(2)

    def trained(x):
        with dropout(0.5, _keys(2)):
            return encoder(x)

    draws = str(jax.make_jaxpr(trained)(x)).count("random_bits")
    assert draws == 2 * depth - 1
    assert "random_bits" not in str(jax.make_jaxpr(encoder.__call__)(x))


def test_rate_zero_is_the_plain_pass():
    encoder, x = _papagei(3), _signal(4)
    with dropout(0.0, _keys(4)):
        inside = encoder.activations(x)
    jax.tree.map(np.testing.assert_array_equal, inside, encoder.activations(x))


def test_the_mean_of_a_linear_place_is_the_plain_pass():
    # Block 0 drops once, before its last convolution: linear from there on.
    encoder, draws = _papagei(1), 4096
    x = jnp.broadcast_to(_signal(1), (draws, 1, 24))

    @jax.jit
    def trained(x):
        with dropout(0.5, _keys(draws)):
            return encoder(x)

    plain, found = np.asarray(encoder(x[:1])[0]), np.asarray(trained(x))
    error = found.std(axis=0) / draws**0.5
    assert np.abs(found.mean(axis=0) - plain).max() < 5 * error.max()
    assert found.std(axis=0).min() > 0


def test_the_gradient_is_that_of_what_was_kept():
    def total(x):
        with dropout(0.5, _keys(3)):
            return jnp.sum(dropped(x, 2) ** 2)

    x = jax.random.normal(jax.random.key(1), (3, 8, 2))
    with dropout(0.5, _keys(3)):
        kept = dropped(jnp.ones_like(x), 2)
    np.testing.assert_allclose(jax.grad(total)(x), 2 * x * kept**2, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    with dropout(0.5, _keys(2)):
        assert dropped(jnp.ones((2, 4), jnp.bfloat16), 0).dtype == jnp.bfloat16
