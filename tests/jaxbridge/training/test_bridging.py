"""Every loss, place, preset and option of a bridge's training, on an encoder of two layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbridge.bridge import PrototypeBridge
from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.head import TaskHead
from jaxbridge.training import engine, optimizers, trainable
from jaxbridge.training.alignment import AlignmentSettings, alignment_loss
from jaxbridge.training.bridging import BridgeSettings, bridge_trainer, train_bridge, trained_labels
from jaxbridge.training.optimizers import OptimizerSettings
from model_ports.errors import InputError
from tests.jaxbridge import tiny
from tests.jaxbridge.toy import Toy

_RNG = np.random.default_rng(0)
_DATA = {
    "pooled": _RNG.standard_normal((13, 3)).astype(np.float32),
    "target": _RNG.standard_normal((13, 4, 3)).astype(np.float32),
    "logits": _RNG.standard_normal((13, 2)).astype(np.float32),
}
_SETTINGS = BridgeSettings(
    rank=3, num_prototypes=4, learning_rate=1e-2, epochs=30, batch_size=5
)


def _model(start: int = 1) -> BridgedModel:
    new, old = Toy(rngs=nnx.Rngs(0)), Toy(rngs=nnx.Rngs(1))
    context = {"gain": jnp.ones((1, 3))}
    head = TaskHead(3, 2, rngs=nnx.Rngs(2), context=context)
    tokens = 1 if start == 2 else 4
    bridge = PrototypeBridge(3, tokens, 3, rank=3, num_prototypes=4, rngs=nnx.Rngs(3))
    return BridgedModel(new, old, bridge, head, Position(1, start))


def _train(settings: BridgeSettings, data=_DATA, start: int = 1):
    model = _model(start)
    return train_bridge(
        model.new, model.old, model.head, model.bridge, model.position, dict(data), dict(data),
        settings, seed=0, num_pairs=13,
    )


def _leaves(module: nnx.Module) -> dict[str, np.ndarray]:
    state = nnx.to_flat_state(nnx.state(module))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in state}


@pytest.mark.parametrize("loss", ["cosine", "token_cosine", "l1", "mse", "info_nce"])
@pytest.mark.parametrize("location", ["last_layer", "bridge_output"])
def test_every_loss_falls_at_both_places(loss, location):
    _, curve = _train(dataclasses.replace(_SETTINGS, loss=loss, location=location))
    assert curve[-1].val_loss < 0.95 * curve[0].train_loss


def test_the_bridge_into_the_head_is_trained_on_pooled_targets():
    data = {**_DATA, "target": _DATA["target"].mean(axis=1, keepdims=True)}
    model, curve = _train(_SETTINGS, data, start=2)
    assert curve[-1].val_loss < 0.9 * curve[0].train_loss
    assert model.suffix(jnp.asarray(_DATA["pooled"])).shape == (13, 2)


@pytest.mark.parametrize(("preset", "moves"), [
    ("bridge", {"bridge.low_rank_a", "bridge.low_rank_b", "bridge.prototypes"}),
    ("prototypes", {"bridge.prototypes"}),
    ("low_rank", {"bridge.low_rank_a", "bridge.low_rank_b"}),
    ("bridge_and_head", {
        "bridge.low_rank_a", "bridge.low_rank_b", "bridge.prototypes",
        "head.layers.0.kernel", "head.layers.0.bias",
    }),
])
def test_a_preset_moves_what_it_says_and_no_bit_of_the_rest(preset, moves):
    settings = dataclasses.replace(
        _SETTINGS, trainable=preset, logit_weight=0.5 if preset == "bridge_and_head" else 0.0
    )
    start = _model().bridge.low_rank_b
    before = _leaves(_model().suffix)
    model = _model()
    # with B at zero the prototypes get no gradient
    model.bridge.low_rank_b.set_value(0.1 * jnp.ones(start.shape))
    before["bridge.low_rank_b"] = np.asarray(model.bridge.low_rank_b[...])
    trainer = bridge_trainer(model, settings)
    assert set(trainer.params) == moves
    trainer.train(_DATA, np.arange(13), 5)
    after = _leaves(trainer.module())
    assert {p for p in before if before[p].tobytes() != after[p].tobytes()} == moves


def test_old_norms_move_only_behind_the_bridge():
    old, new = tiny.encoders()
    bridge = PrototypeBridge(16, 5, 200, rank=2, num_prototypes=3, rngs=nnx.Rngs(0))
    head = TaskHead(200, 2, rngs=nnx.Rngs(0))
    model = BridgedModel(new, old, bridge, head, Position(1, 2))
    settings = BridgeSettings(trainable="bridge_and_old_norms")
    moved = {p for p, label in trained_labels(model, settings).items() if label != "frozen"}
    norms = {p for p in moved if p.startswith("old.")}
    assert norms and moved - norms == {f"bridge.{p}" for p in (
        "low_rank_a", "low_rank_b", "prototypes")}
    assert all(p.startswith("old.blocks.2.") and "norm" in p for p in norms)
    table = trainable.summary(model.suffix, trained_labels(model, settings))
    total = table.splitlines()[-1].split()
    assert total[0] == "total"
    counted = [int(x.replace(",", "")) for x in total[1:]]
    leaves = jax.tree.leaves(nnx.state(model.suffix, nnx.Param))
    assert sum(counted) == sum(x.size for x in leaves)
    by_path = dict(nnx.to_flat_state(nnx.state(model.suffix, nnx.Param)))
    sizes = {".".join(map(str, p)): v[...].size for p, v in by_path.items()}
    assert counted[0] == sum(sizes[p] for p in moved)


def test_a_step_contains_no_layer_before_the_bridge():
    """FLOPs that XLA counts: of the trained step behind layer l, and of the old layers alone."""
    old, new = tiny.encoders()
    head = TaskHead(200, 2, rngs=nnx.Rngs(0))
    loss = alignment_loss(AlignmentSettings())

    def flops(start: int) -> float:
        bridge = PrototypeBridge(16, 5, 200, rank=2, num_prototypes=3, rngs=nnx.Rngs(0))
        suffix = BridgedModel(new, old, bridge, head, Position(1, start)).suffix
        graph, params, rest = nnx.split(suffix, nnx.PathContains("bridge"), ...)

        def mean(params, rest, batch):
            return loss(nnx.merge(graph, params, rest), batch)[0].mean()

        batch = {"pooled": jnp.ones((4, 16)), "target": jnp.ones((4, 5, 200))}
        compiled = jax.jit(jax.value_and_grad(mean)).lower(params, rest, batch).compile()
        return compiled.cost_analysis()["flops"]

    layer = jax.jit(lambda e, x: e.run(x, 1, 2)).lower(old, jnp.ones((4, 5, 200))).compile()
    one = layer.cost_analysis()["flops"]
    found = [flops(start) for start in (0, 1, 2)]
    # a layer costs its forward pass and the gradient with respect to its input, no more
    for more, less in zip(found, found[1:], strict=False):
        assert 1.8 * one < more - less < 2.6 * one


def test_rematerialisation_changes_no_gradient():
    def gradient(remat: bool):
        model = _model(0)
        model.bridge.low_rank_b.set_value(0.1 * jnp.ones(model.bridge.low_rank_b.shape))
        trainer = bridge_trainer(model, dataclasses.replace(_SETTINGS, remat=remat))
        trainer.train(_DATA, np.arange(13), 13)
        return trainer.host_params()

    kept, again = gradient(False), gradient(True)
    for path, value in kept.items():
        np.testing.assert_allclose(again[path], value, rtol=1e-5, atol=1e-7)


def test_clipping_is_over_trained_leaves_alone():
    """A frozen leaf with a huge gradient would otherwise use up the norm."""
    module = nnx.Dict(a=nnx.Param(jnp.ones(3)), b=nnx.Param(jnp.ones(2)))

    def loss(module, batch):
        value = batch["x"] @ module["a"][...] + 1e6 * module["b"][...].sum()
        return value, jnp.ones_like(value)

    labels = engine.labels(module, lambda path: path == "a")
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    trainer = engine.Trainer(module, loss, labels, clipped)
    x = np.array([[3.0, 0, 4.0]], np.float32)
    trainer.train({"x": x}, np.arange(1), 1)
    np.testing.assert_allclose(trainer.host_params()["a"], 1 - x[0] / 5, rtol=1e-5)


@pytest.mark.parametrize(("schedule", "want"), [
    ("constant", [0.5, 1, 1, 1, 1, 1]), ("linear", [0.5, 1, 0.75, 0.5, 0.25, 0]),
])
def test_schedules_after_warm_up(schedule, want):
    settings = OptimizerSettings(1.0, schedule, warmup_steps=2)
    rate = optimizers.rate_of(settings, 6)
    np.testing.assert_allclose([float(rate(i)) for i in range(1, 7)], want, atol=1e-6)
    end = optimizers.rate_of(OptimizerSettings(1.0, "cosine"), 4)
    np.testing.assert_allclose([float(end(i)) for i in (0, 2, 4)], [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(("change", "message"), [
    ({"loss": "huber"}, "there is no loss 'huber'"),
    ({"location": "head"}, "location is 'head'"),
    ({"trainable": "everything"}, "what moves"),
    ({"trainable": "bridge_and_head"}, "needs logit_weight > 0"),
    ({"temperature": 0.0}, "temperature is 0.0"),
    ({"logit_weight": float("nan")}, "logit_weight is nan"),
    ({"schedule": "step"}, "schedule is 'step'"),
    ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ({"prototypes": "kmeans"}, "prototypes is 'kmeans'"),
    ({"keep": "first"}, "keep is 'first'"),
    ({"rank": 0}, "rank is 0; it must be at least 1"),
    ({"num_prototypes": 0}, "num_prototypes is 0"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"patience": 0}, "patience is 0"),
    ({"loss": "info_nce", "batch_size": 1}, "batch_size must be at least 2"),
])
def test_bad_settings_are_refused_when_they_are_made(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(_SETTINGS, **change)


def test_bad_runs_are_refused():
    with pytest.raises(InputError, match="warmup_steps is 90, but the run has 90 steps"):
        _train(dataclasses.replace(_SETTINGS, warmup_steps=90))
    with pytest.raises(InputError, match="batch size 14 does not fit 13"):
        _train(dataclasses.replace(_SETTINGS, batch_size=14))
    with pytest.raises(InputError, match="rank"):
        PrototypeBridge(3, 4, 3, rank=0, num_prototypes=4, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="needs to know the number of steps"):
        bridge_trainer(_model(), dataclasses.replace(_SETTINGS, schedule="cosine"))


def test_early_stopping_looks_at_validation_alone():
    val = {**_DATA, "target": -_DATA["target"]}
    model = _model()
    _, curve = train_bridge(
        model.new, model.old, model.head, model.bridge, model.position, dict(_DATA), val,
        dataclasses.replace(_SETTINGS, patience=3, epochs=60, learning_rate=5e-2), seed=0,
        num_pairs=13,
    )
    best = min(range(len(curve)), key=lambda i: curve[i].val_loss)
    assert len(curve) == best + 1 + 3 < 60
