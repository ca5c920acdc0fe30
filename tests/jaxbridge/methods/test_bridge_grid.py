"""Bridges trained together are those trained one by one, up to rounding."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from jaxbridge import methods
from jaxbridge.bridge import PrototypeBridge
from jaxbridge.methods import Bridge
from jaxbridge.methods.bridge_grid import fit_grid, grids
from jaxbridge.training.bridge_grid import BridgeGrid
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study

BASE = dataclasses.replace(toy_study.SETTINGS.bridge, epochs=4)


def _bridge(name: str, **changes) -> Bridge:
    return Bridge(name, dataclasses.replace(BASE, **changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_study.prepare(tmp_path_factory.mktemp("study"), toy_study.windows())


@pytest.mark.parametrize("layout", ["paper", "reinterpret"])
def test_a_grid_of_unlike_sizes_holds_the_same_bridges(layout):
    made = [
        PrototypeBridge(6, 5, 4, rank=r, num_prototypes=p, layout=layout, rngs=nnx.Rngs(i))
        for i, (r, p) in enumerate([(2, 7), (3, 2), (1, 1)])
    ]
    for i, bridge in enumerate(made):
        bridge.low_rank_b.set_value(jax.random.normal(jax.random.key(i), bridge.low_rank_b.shape))
    grid, pooled = BridgeGrid(made), jax.random.normal(jax.random.key(9), (3, 6))
    for i, bridge in enumerate(made):
        np.testing.assert_allclose(grid(pooled)[i], bridge(pooled), rtol=1e-5, atol=1e-5)
        for name, value in toy_study.leaves(bridge).items():
            np.testing.assert_array_equal(toy_study.leaves(grid.bridge(i))[name], value)


@pytest.mark.parametrize("bridges", [
    pytest.param(
        [_bridge("a", rank=2, num_prototypes=3),
         _bridge("b", rank=3, num_prototypes=2, learning_rate=0.02),
         _bridge("c", loss="mse"), _bridge("d", logit_weight=1.0), _bridge("e", loss="info_nce"),
         _bridge("f", prototypes="real")],
        marks=pytest.mark.slow,
    ),
    [_bridge("a", location="bridge_output"),
     _bridge("b", location="bridge_output", loss="l1", logit_weight=0.5)],
    [_bridge("a", schedule="cosine", warmup_steps=2, location="bridge_output"),
     _bridge("b", schedule="cosine", warmup_steps=2, location="bridge_output", learning_rate=0.05)],
], ids=["last layer", "bridge output", "falling rate"])
def test_together_as_alone(data, bridges):
    assert grids(bridges, data) == [list(range(len(bridges)))]
    test = data.windows.indices("test")
    for bridge, found in zip(bridges, fit_grid(bridges, data, 3), strict=True):
        alone = bridge.fit(data, 3)
        for name, value in toy_study.leaves(alone.model.bridge).items():
            np.testing.assert_allclose(
                toy_study.leaves(found.model.bridge)[name], value, rtol=2e-3, atol=2e-4
            )
        np.testing.assert_allclose(
            found.logits(data, test), alone.logits(data, test), rtol=5e-3, atol=5e-3
        )
        for name in ("trainable_parameters", "frozen_parameters", "train_samples"):
            assert getattr(found, name) == getattr(alone, name)
        assert found.cost(data).train_flops_per_sample == alone.cost(data).train_flops_per_sample


def test_only_alike_bridges_train_together(data):
    mixed = [
        _bridge("a"), methods.method("Procrustes"), _bridge("b", rank=3),
        methods.method("head-only bridge"),
        _bridge("c", epochs=5), _bridge("d", keep="best"), _bridge("e", epochs=5),
        _bridge("f", clip_norm=1.0), _bridge("i", schedule="cosine"),
        _bridge("g", location="bridge_output"),
        Bridge("h", BASE, position=(1, 0)), methods.method("bridge, shuffled pairs"),
    ]
    assert grids(mixed, data) == [[0, 2], [4, 6]]
    with pytest.raises(InputError, match="may differ in rank"):
        fit_grid([mixed[0], mixed[4]], data, 0)
    with pytest.raises(InputError, match="one position"):
        fit_grid([mixed[0], mixed[10]], data, 0)
