"""Batch norms of a trained encoder follow the batches, as in PyTorch's training mode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.head import TaskHead
from jaxbridge.teacher import HeadSettings, Teacher, fit_unfrozen, supervised_trainer
from jaxbridge.training import engine
from model_ports.batch_norm import BatchNorm


class _Small(nnx.Module):
    """Linear, norm, ReLU, token mean, linear: the parts of a PaPaGei block."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        # Without bias: the norm cancels it, and Adam would make steps of its rounding noise.
        self.first, self.norm = nnx.Linear(3, 4, use_bias=False, rngs=rngs), BatchNorm(4)
        self.last = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(jax.nn.relu(self.norm(self.first(x))).mean(axis=1))


def _data(windows: int = 11):
    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (windows, 6, 3)).astype(np.float32)
    return {
        "input": x, "label": (x[:, 0, 0] > 1).astype(np.int32),
        "weight": np.where(x[:, 0, 0] > 1, 2.0, 1).astype(np.float32),
    }


def _trainer(**settings) -> engine.Trainer:
    settings = HeadSettings(unfrozen=True, learning_rate=1e-2, **settings)
    return supervised_trainer(_Small(), settings)


def _loss(model, batch):
    log_p = jax.nn.log_softmax(model(batch["input"]))
    return -jnp.take_along_axis(log_p, batch["label"][:, None], 1)[:, 0], batch["weight"]


def test_training_equals_pytorch():
    torch = pytest.importorskip("torch")
    start, data = _Small(), _data()
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4, bias=False), torch.nn.BatchNorm1d(4), torch.nn.ReLU(),
        torch.nn.Linear(4, 2),
    )
    with torch.no_grad():
        for theirs, ours in ((model[0], start.first), (model[3], start.last)):
            theirs.weight.copy_(torch.from_numpy(np.array(ours.kernel[...].T)))
        model[3].bias.zero_()  # as NNX starts
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    order, losses = np.tile(np.arange(11), 4), []
    for step in range(0, 44, 4):  # 4 windows on 8 devices, 11 windows a round: padding throughout
        rows = order[step : step + 4]
        hidden = model[0](torch.from_numpy(data["input"][rows])).transpose(1, 2)
        logits = model[3](model[2](model[1](hidden)).mean(dim=2))
        each = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(data["label"][rows]).long(), reduction="none"
        )
        weight = torch.from_numpy(data["weight"][rows])
        loss = (each * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trainer = _trainer()
    np.testing.assert_allclose(trainer.train(data, order, 4), losses, rtol=1e-4)
    ours = trainer.module()
    for value, theirs in (
        (ours.norm.mean, model[1].running_mean), (ours.norm.var, model[1].running_var),
        (ours.norm.scale, model[1].weight), (ours.norm.bias, model[1].bias),
        (ours.last.bias, model[3].bias),
    ):
        np.testing.assert_allclose(value[...], theirs.detach().numpy(), rtol=1e-3, atol=1e-5)
    model.eval()
    hidden = model[0](torch.from_numpy(data["input"])).transpose(1, 2)
    logits = model[3](model[2](model[1](hidden)).mean(dim=2)).detach().numpy()
    np.testing.assert_allclose(ours(data["input"]), logits, rtol=1e-3, atol=1e-4)


def test_one_device_equals_eight():
    results = []
    labels = engine.labels(_Small(), lambda path: True, lambda path: True)
    for devices in (jax.devices()[:1], None):
        trainer = engine.Trainer(_Small(), _loss, labels, optax.adam(1e-2), devices=devices)
        losses = trainer.train(_data(), np.arange(11), 4)
        results.append((losses, trainer.host_params(), trainer.loss(_data(), 4)))
    (losses, params, total), (losses8, params8, total8) = results
    np.testing.assert_allclose(losses, losses8, rtol=1e-5)
    assert total == pytest.approx(total8, rel=1e-5)
    assert {"norm.mean", "norm.var", "first.kernel"} <= params.keys()
    for path, value in params.items():
        np.testing.assert_allclose(value, params8[path], rtol=1e-4, atol=1e-5)


def test_validation_reads_the_stored_statistics():
    trainer = _trainer()
    trainer.train(_data(), np.arange(11), 4)
    model, data = trainer.module(), _data()
    losses, weights = _loss(model, jax.tree.map(jnp.asarray, data))
    before = trainer.host_params()
    assert trainer.loss(data, 4) == pytest.approx(float((losses * weights).sum() / weights.sum()))
    assert all(np.array_equal(before[p], v) for p, v in trainer.host_params().items())


def test_statistics_are_part_of_the_state_that_a_run_goes_on_from():
    whole, first, again = _trainer(), _trainer(), _trainer()
    for _ in range(2):
        whole.train(_data(), np.arange(11), 4)
    first.train(_data(), np.arange(11), 4)
    again.set_state(first.host_state())
    again.train(_data(), np.arange(11), 4)
    for path, value in whole.host_params().items():
        assert value.tobytes() == again.host_params()[path].tobytes(), path
    again.set_params(first.host_params())
    assert np.array_equal(again.module().norm.var[...], first.host_params()["norm.var"])


def test_a_bad_batch_moves_no_statistics():
    data, trainer = _data(), _trainer()
    data["input"][5] = np.nan
    before = trainer.host_params()
    with pytest.raises(engine.NonFiniteError):
        trainer.train(data, np.arange(4, 8), 4)
    assert all(np.array_equal(before[p], v) for p, v in trainer.host_params().items())


def test_without_it_statistics_keep_every_bit():
    trainer = _trainer(batch_statistics=False)
    trainer.train(_data(), np.arange(11), 4)
    assert not trainer.statistics
    norm = trainer.module().norm
    assert not np.any(norm.mean[...]) and np.all(norm.var[...] == 1)


@pytest.mark.parametrize("follow", [True, False])
def test_an_unfrozen_papagei(follow):
    encoder = mp.create("papagei", rngs=nnx.Rngs(0), depth=2, features=4, embedding_features=4)
    rng = np.random.default_rng(0)
    labels = np.arange(8) % 2
    signals = rng.normal(0, 1 + labels[:, None, None], (8, 1, 40)).astype(np.float32)
    settings = HeadSettings(unfrozen=True, epochs=2, batch_size=4, batch_statistics=follow)
    teacher, _ = fit_unfrozen(encoder, (signals, labels), (signals, labels), 2, settings, seed=0)
    moved = [
        not np.array_equal(getattr(teacher.encoder.blocks[1], name).mean[...], np.zeros(4))
        for name in ("bn1", "bn2")
    ]
    assert moved == [follow, follow]
    assert not np.any(encoder.blocks[1].bn1.mean[...])
    assert not np.any(teacher.encoder.blocks[0].bn1.mean[...])  # published, never called
    # A frozen encoder in the same module would keep its bits: only what is labelled follows.
    head = TaskHead(4, 2, rngs=nnx.Rngs(0))
    found = engine.labels(Teacher(encoder, head), lambda path: path.startswith("head."))
    assert set(found.values()) == {"bridge", "frozen"}
