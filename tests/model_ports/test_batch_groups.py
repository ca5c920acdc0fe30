"""Computing a batch in groups: the same values, less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from model_ports import batch_groups
from model_ports.tiny_biomoe import TinyBiomoeConfig, efficientvit, spectformer

ENCODERS = {
    "labram": ({"depth": 1}, (5, 2, 3, 200)),
    "hubert_ecg_small": (
        {"depth": 1, "features": 32, "num_heads": 2, "mlp_features": 64, "conv_channels": (16,) * 5},
        (5, 700),
    ),
    "ecg_fm": (
        {"depth": 1, "features": 32, "num_heads": 2, "mlp_features": 64, "conv_channels": (16,) * 4},
        (5, 12, 300),
    ),
    "normwear": (
        {"depth": 1, "features": 32, "num_heads": 2, "mlp_features": 64}, (5, 2, 60),
    ),
}


@pytest.mark.parametrize(("budget", "size"), [(1, 1), (3, 2), (4, 4), (5, 4), (7, 4), (8, 8), (99, 8)])
def test_the_last_group_is_padded_least(monkeypatch, budget, size):
    monkeypatch.setattr(batch_groups, "cache_bytes", lambda: budget)
    seen = []

    def double(x):
        seen.append(x.shape[0])
        return 2 * x

    x = jnp.arange(24.0).reshape(8, 3)
    np.testing.assert_array_equal(
        jax.jit(lambda x: batch_groups.in_groups(double, x, 1))(x), 2 * x
    )
    assert set(seen) == {size}


def test_groups_of_tuples_are_differentiated_as_the_whole(monkeypatch):
    monkeypatch.setattr(batch_groups, "cache_bytes", lambda: 2)
    x, y = (jax.random.normal(jax.random.key(i), (7, 4)) for i in (0, 1))

    def product(pair):
        return jnp.tanh(pair[0]) * pair[1]

    @jax.jit
    def in_groups(x, y):
        return jnp.sum(jnp.sin(batch_groups.in_groups(product, (x, y), 1)))

    grouped = jax.grad(in_groups, (0, 1))(x, y)
    whole = jax.grad(lambda x, y: jnp.sum(jnp.sin(product((x, y)))), (0, 1))(x, y)
    for a, b in zip(whole, grouped, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_grouped_layer_has_the_same_gradients_from_less_memory(monkeypatch):
    layer = mp.create("labram", rngs=nnx.Rngs(0), depth=1).blocks[0]
    graph, state = nnx.split(layer)
    x = jax.random.normal(jax.random.key(1), (6, 40, 200))

    def compiled():
        # a new function each time: the traces differ by the budget
        def total(state, x):
            return jnp.sum(jnp.sin(nnx.merge(graph, state)(x)))

        return jax.jit(jax.grad(total, (0, 1))).lower(state, x).compile()

    whole = compiled()
    monkeypatch.setattr(batch_groups, "cache_bytes", lambda: 2 * 4 * 40 * 800)
    grouped = compiled()
    with batch_groups.recomputed():
        recomputed = compiled()
    programs = whole, grouped, recomputed
    found = [jax.tree.leaves(f(state, x)) for f in programs]
    largest = max(np.abs(a).max() for a in found[0])  # some are zero but for rounding
    for values in zip(*found, strict=True):
        for other in values[1:]:
            np.testing.assert_allclose(values[0], other, rtol=1e-4, atol=1e-6 * largest)
    used = [f.memory_analysis().temp_size_in_bytes for f in programs]
    assert used[1] < 0.7 * used[0] and used[2] < 0.8 * used[1]


def test_outside_jit_the_batch_stays_whole(monkeypatch):
    monkeypatch.setattr(batch_groups, "cache_bytes", lambda: 1)
    seen = []
    batch_groups.in_groups(lambda x: seen.append(x.shape) or x, jnp.zeros((6, 2)), 1)
    assert seen == [(6, 2)]


def test_several_devices_or_an_accelerator_take_the_batch_whole():
    assert jax.device_count() > 1
    assert batch_groups.cache_bytes() > 2**50


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.slow
def test_an_encoder_gives_the_same_in_groups(name, monkeypatch):
    overrides, shape = ENCODERS[name]
    same_in_groups(mp.create(name, rngs=nnx.Rngs(0), **overrides), shape, monkeypatch)


@pytest.mark.parametrize(("part", "shape"), [
    (lambda config, rngs: spectformer.Stem(config, rngs=rngs), (3, 32, 32, 3)),
    (lambda config, rngs: spectformer.Block(config, 0, rngs=rngs), (3, 64, 64)),
    (lambda config, rngs: efficientvit.PatchEmbed(config, rngs=rngs), (3, 32 * 32, 3)),
])
def test_large_parts_of_tiny_biomoe_give_the_same_in_groups(part, shape, monkeypatch):
    same_in_groups(part(TinyBiomoeConfig(image_size=32), nnx.Rngs(0)), shape, monkeypatch)


def same_in_groups(module, shape, monkeypatch):
    graph, state = nnx.split(module)
    signal = jax.random.uniform(jax.random.key(1), shape)

    def compiled():
        return jax.jit(lambda state, x: nnx.merge(graph, state)(x)).lower(state, signal)

    whole = compiled()
    monkeypatch.setattr(batch_groups, "cache_bytes", lambda: 1)
    grouped = compiled()
    assert grouped.as_text().count("stablehlo.while") > whole.as_text().count("stablehlo.while")
    a, b = (np.asarray(lowered.compile()(state, signal)) for lowered in (whole, grouped))
    assert np.abs(a - b).max() <= 2e-6 * np.abs(a).max()


def test_whole_batches_are_whole_inside_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    before = batch_groups.cache_bytes()
    with batch_groups.whole_batches():
        assert batch_groups.cache_bytes() == 2**62 > before
    assert batch_groups.cache_bytes() == before


def test_whole_batches_are_counted_in_full_by_xla(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(batch_groups, "_BYTES_PER_CORE", 2**12)
    overrides, shape = ENCODERS["normwear"]
    encoder = mp.create("normwear", rngs=nnx.Rngs(0), **overrides)

    def flops(batch):
        signal = jax.ShapeDtypeStruct((batch, *shape[1:]), jnp.float32)
        lowered = jax.jit(lambda e, x: e(x)).lower(encoder, signal)
        return lowered.cost_analysis()["flops"] / batch

    in_groups = flops(8)
    with batch_groups.whole_batches():
        assert flops(8) == pytest.approx(flops(1), rel=0.05)
        assert flops(8) > 1.5 * in_groups
