"""The trainer moves labelled leaves only, and any number of devices gives the same result."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.head import TaskHead
from jaxbridge.training import engine, losses
from jaxbridge.training.bridging import BridgeSettings, bridge_trainer, new_bridge
from model_ports.errors import InputError
from tests.jaxbridge import tiny

_SETTINGS = BridgeSettings(rank=3, num_prototypes=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def model() -> BridgedModel:
    old, new = tiny.encoders()
    position = Position(1, 1)
    bridge = new_bridge(new, old, position, ((1, 600), (1, 2, 2, 200)), _SETTINGS, seed=0)
    return BridgedModel(new, old, bridge, TaskHead(200, 2, rngs=nnx.Rngs(0)), position)


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "pooled": rng.standard_normal((13, 16)).astype(np.float32),
        "target": rng.standard_normal((13, 5, 200)).astype(np.float32),
    }


def _leaves(module) -> dict[str, np.ndarray]:
    state = nnx.to_flat_state(nnx.state(module))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in state}


def _with(module, values):
    """The module with some leaves replaced, inside a trace too."""
    graph, state = nnx.split(module)
    flat = [
        (p, v.replace(values.get(".".join(map(str, p)), v[...])))
        for p, v in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def test_frozen_leaves_are_bit_identical_after_100_steps(model, data):
    before = _leaves(model.suffix)
    trainer = bridge_trainer(model, _SETTINGS)
    losses_seen = trainer.train(data, np.tile(np.arange(13), 31)[:400], 4)
    assert len(losses_seen) == 100
    after = _leaves(trainer.module())
    assert before.keys() == after.keys()
    for path, value in before.items():
        if path.startswith("bridge."):
            assert not np.array_equal(value, after[path]), path
        else:
            assert value.tobytes() == after[path].tobytes(), path
    assert losses_seen[-1] < losses_seen[0]


def test_no_optimizer_state_for_frozen_leaves(model):
    trainer = bridge_trainer(model, _SETTINGS)
    bridge = model.suffix.bridge
    sizes = sorted(x.size for x in jax.tree.leaves(trainer.opt_state))
    leaves = [bridge.low_rank_a.size, bridge.low_rank_b.size, bridge.prototypes.size]
    assert sizes == sorted([1, *leaves, *leaves])  # Adam: a count and two moments per leaf
    assert set(trainer.params) == {"bridge.low_rank_a", "bridge.low_rank_b", "bridge.prototypes"}


def test_the_callers_module_is_left_alone(model, data):
    before = _leaves(model)
    bridge_trainer(model, _SETTINGS).train(data, np.arange(8), 4)
    after = _leaves(model)
    assert all(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.parametrize("batch_size", [4, 8, 13])
@pytest.mark.slow
def test_eight_devices_equal_one(model, data, batch_size):
    # 13 windows: the last batch is short, and 4 and 13 do not divide by 8
    order = np.random.default_rng(1).permutation(13)
    results = []
    for count in (1, 2, 8):
        trainer = bridge_trainer(model, _SETTINGS, devices=jax.devices()[:count])
        steps = np.concatenate([trainer.train(data, order, batch_size) for _ in range(3)])
        results.append((steps, _leaves(trainer.module().bridge), trainer.loss(data, batch_size)))
    for steps, leaves, total in results[1:]:
        np.testing.assert_allclose(steps, results[0][0], rtol=1e-5)
        assert total == pytest.approx(results[0][2], rel=1e-5)
        for path, value in leaves.items():
            np.testing.assert_allclose(value, results[0][1][path], rtol=1e-5, atol=1e-5)


def test_step_equals_adam_written_out(model, data):
    """One step by hand: gradient of the mean loss, Adam, no decay."""
    trainer = bridge_trainer(model, _SETTINGS, devices=jax.devices()[:1])

    def mean_loss(params):
        suffix = _with(model.suffix, params)
        return losses.cosine(
            suffix.last_layer(jnp.asarray(data["pooled"][:4])), data["target"][:4]
        ).mean()

    start = {p: jnp.asarray(v) for p, v in trainer.host_params().items()}
    value, gradient = jax.value_and_grad(mean_loss)(start)
    (seen,) = trainer.train(data, np.arange(4), 4)
    assert seen == pytest.approx(float(value), rel=1e-5)
    optimizer = optax.adam(1e-2)
    updates, _ = optimizer.update(gradient, optimizer.init(start))
    for path, after in optax.apply_updates(start, updates).items():
        # Adam's first step is lr * sign(gradient) where the gradient is not tiny
        clear = np.abs(gradient[path]) > 1e-6
        np.testing.assert_allclose(
            trainer.host_params()[path][clear], after[clear], rtol=1e-4, atol=1e-5
        )


def test_gradient_equals_finite_differences(model, data):
    suffix = model.suffix
    rng = np.random.default_rng(3)
    b = rng.standard_normal(suffix.bridge.low_rank_b.shape).astype(np.float32)
    direction = rng.standard_normal(b.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)

    @jax.jit
    def loss(b):
        changed = _with(suffix, {"bridge.low_rank_b": b})
        return losses.cosine(changed.last_layer(data["pooled"]), data["target"]).mean()

    slope = float(jnp.vdot(jax.grad(loss)(b), direction))
    step = 1e-1
    numeric = (float(loss(b + step * direction)) - float(loss(b - step * direction))) / (2 * step)
    assert slope == pytest.approx(numeric, rel=2e-2)


def test_padding_does_not_count():
    """A mean over 5 windows on 8 devices is the mean over 5, weights included."""
    module = nnx.Linear(3, 1, use_bias=False, rngs=nnx.Rngs(0))

    def loss(module, batch):
        return module(batch["x"])[:, 0], batch["weight"]

    rng = np.random.default_rng(0)
    data = {
        "x": rng.standard_normal((5, 3)).astype(np.float32),
        "weight": np.array([1, 2, 3, 4, 5], np.float32),
    }
    want = np.average(data["x"] @ np.asarray(module.kernel[...])[:, 0], weights=data["weight"])
    labels = engine.labels(module, lambda path: True)
    trainer = engine.Trainer(module, loss, labels, optax.sgd(0.0))
    assert trainer.loss(data, 2) == pytest.approx(want, rel=1e-5)
    assert trainer.train(data, np.arange(5), 5)[0] == pytest.approx(want, rel=1e-5)


def test_nothing_to_train_is_refused(model):
    labels = engine.labels(model.suffix, lambda path: False)
    with pytest.raises(InputError, match="nothing would move"):
        engine.Trainer(model.suffix, lambda m, b: None, labels, optax.adam(1e-3))


def test_orders_depend_on_seed_and_epoch_alone():
    first, second = (list(engine.epoch_orders(20, 3, seed=5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], next(engine.epoch_orders(20, 1, seed=6)))
    assert sorted(first[2]) == list(range(20))
