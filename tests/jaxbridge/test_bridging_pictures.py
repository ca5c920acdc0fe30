"""Tiny-BioMoE on PPG pictures as the new and as the old side of a bridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.head import TaskHead
from jaxbridge.training.bridging import BridgeSettings, new_bridge, target_kind
from jaxbridge.training.target_cache import CacheSettings, Targets, real_tokens
from launch.benchmarks.representations_worker import pulses
from model_ports.representations import drawn_signals
from tests.jaxbridge import tiny

PPG, ECG = pulses(3, 300).astype(np.float32)[:, None], pulses(3, 600).astype(np.float32)


@pytest.fixture(scope="module")
def pictures():
    encoder = tiny.pictures(3)
    return drawn_signals(encoder, "recurrence")


def bridged(new, old, position, shapes, features, context=()):
    settings = BridgeSettings(rank=3, num_prototypes=4)
    bridge = new_bridge(new, old, Position(*position), shapes, settings, seed=0)
    rng = np.random.default_rng(0)
    bridge.low_rank_b.set_value(jnp.asarray(rng.standard_normal(bridge.low_rank_b.shape), float))
    head = TaskHead(features, 2, rngs=nnx.Rngs(0), context=context)
    return BridgedModel(new, old, bridge, head, position)


@jax.jit
def logits(model, signal):
    return model(signal)


@pytest.mark.slow
def test_from_pictures_into_another_encoder(pictures):
    """The last layer before the experts meet is 4 wide, the one behind it 8."""
    _, hubert = tiny.encoders()
    model = bridged(pictures, hubert, (14, 1), (PPG.shape, ECG.shape), 16)
    pooled = jax.jit(lambda e, x: e.activations(x).outputs[14])(pictures, PPG)
    assert pooled.shape == (3, 4) and model.bridge.low_rank_a.shape == (4, 3)
    tokens = model.bridge(pooled)
    wanted = model.head(hubert.run(tokens, 1, 2).mean(axis=1))
    found = logits(model, PPG)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(found - found[0]).max() > 1e-4


@pytest.mark.parametrize("layer", [5, 15])
def test_targets_and_real_prototypes_are_what_the_layer_takes(pictures, layer):
    """At the second expert's start and where the experts meet, not what the layer before gives."""
    def read(indices):
        return PPG[indices]

    kind = target_kind(pictures, Position(0, layer), "bridge_output")
    found = Targets(pictures, read, np.arange(3), kind, CacheSettings()).rows(np.arange(3))
    assert found.shape[1:] == pictures.layer_shape(layer, PPG.shape)
    if layer == 5:
        image = jax.jit(lambda e, x: e.context(x).image)(pictures, PPG)
        np.testing.assert_allclose(found, image, atol=1e-5)
    drawn = real_tokens(pictures, read, np.arange(3), kind, 3, seed=0)
    every = found.reshape(-1, found.shape[2])
    assert np.abs(every[:, None] - drawn).max(axis=2).min(axis=0).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("layer", [2, 14])
def test_and_back_from_another_encoder_into_that_of_pictures(pictures, layer):
    """What is written into one expert reaches the end; the other's result is that of the context.

    Layer by layer, the second expert would start from the mean picture and forget the first.
    """
    _, hubert = tiny.encoders()
    context = jax.jit(lambda e, x: e.context(x))(pictures, PPG)
    mean = jax.tree.map(lambda c: c.mean(axis=0, keepdims=True), context)
    model = bridged(hubert, pictures, (1, layer), (ECG.shape, PPG.shape), 8, mean)
    tokens = model.bridge(hubert(ECG).mean(axis=1))
    assert tokens.shape[1:] == pictures.layer_shape(layer, PPG.shape)
    run = jax.jit(lambda e, x, c: e.run(x, layer, 16, c))
    last = run(pictures, tokens, model.head.context_for(3))
    found = logits(model, ECG)
    np.testing.assert_allclose(found, model.head(last.mean(axis=1)), atol=1e-4)
    assert np.abs(found - found[0]).max() > 1e-4
    if layer == 14:
        for remat in (False, True):
            again = jax.jit(lambda s, x, r=remat: s.from_tokens(x, remat=r))(model.suffix, tokens)
            np.testing.assert_allclose(again, last, atol=1e-4)
