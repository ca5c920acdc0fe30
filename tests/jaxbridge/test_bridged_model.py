"""A bridged model is prefix, pool, bridge, suffix and head, and compiles nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.head import TaskHead
from jaxbridge.training.bridging import BridgeSettings, new_bridge
from model_ports.errors import InputError
from tests.jaxbridge import tiny

_SHAPES = ((1, 600), (1, 2, 2, 200))
_SETTINGS = BridgeSettings(rank=3, num_prototypes=4)


def _model(position: tuple[int, int], encoders=None) -> BridgedModel:
    old, new = encoders or tiny.encoders()
    bridge = new_bridge(new, old, Position(*position), _SHAPES, _SETTINGS, seed=0)
    rng = np.random.default_rng(0)
    bridge.low_rank_b.set_value(jnp.asarray(rng.standard_normal(bridge.low_rank_b.shape), float))
    return BridgedModel(new, old, bridge, TaskHead(200, 2, rngs=nnx.Rngs(0)), position)


@pytest.mark.parametrize("position", [(0, 0), (1, 2), (0, 3)])
def test_equals_its_parts_written_out(position):
    model = _model(position)
    signal = np.random.default_rng(1).standard_normal((3, 600)).astype(np.float32)
    m, l = position  # noqa: E741
    hidden = model.new.run(model.new.embed(signal), 0, m + 1)
    tokens = model.bridge(hidden.mean(axis=1))
    assert tokens.shape == (3, 1 if l == 3 else 5, 200)
    logits = model.head(model.old.run(tokens, l, 3).mean(axis=1))
    np.testing.assert_allclose(model(signal), logits, rtol=1e-5, atol=1e-5)


def test_a_later_position_costs_fewer_operations():
    def flops(position):
        compiled = jax.jit(lambda s, z: s.last_layer(z)).lower(
            _model(position).suffix, jnp.zeros((8, 16))
        ).compile()
        return compiled.cost_analysis()["flops"]

    costs = [flops((1, l)) for l in range(4)]  # noqa: E741
    layer = costs[0] - costs[1]
    assert layer > 0
    assert costs[1] - costs[2] == pytest.approx(layer, rel=0.01)
    assert costs[2] > costs[3]


@pytest.mark.parametrize("position", [(2, 0), (-1, 0), (0, 4), (0, -1)])
def test_positions_outside_are_refused(position):
    old, new = tiny.encoders()
    bridge = new_bridge(new, old, Position(0, 0), _SHAPES, _SETTINGS, seed=0)
    with pytest.raises(InputError, match="has layers 0 to"):
        BridgedModel(new, old, bridge, TaskHead(200, 2, rngs=nnx.Rngs(0)), position)


def test_head_widths_and_kept_context():
    head = TaskHead(5, 3, hidden=4, rngs=nnx.Rngs(0), context={"a": jnp.arange(6.0)[None]})
    assert head(jnp.ones((2, 5))).shape == (2, 3)
    np.testing.assert_array_equal(head.context_for(4)["a"], np.tile(np.arange(6.0), (4, 1)))
    with pytest.raises(InputError, match="at least 2 classes"):
        TaskHead(5, 1, rngs=nnx.Rngs(0))
