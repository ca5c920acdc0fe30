"""Dropout while a head is trained together with its encoder."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.head import TaskHead
from jaxbridge.teacher import HeadSettings, fit_unfrozen, supervised_trainer
from jaxbridge.training import engine
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import fit
from model_ports.dropout import dropped
from model_ports.errors import InputError

_HALF = engine.Dropout(0.5, 0)


class _Small(nnx.Module):
    def __init__(self):
        self.first, self.last = (nnx.Linear(8, 8, rngs=nnx.Rngs(i)) for i in range(2))

    def __call__(self, x):
        return self.last(dropped(jax.nn.relu(self.first(x)), 0))


def _trainer(drop: engine.Dropout | None = _HALF, devices=None, learning_rate: float = 1e-2):
    module = _Small()
    return engine.Trainer(
        module, lambda m, batch: ((m(batch["x"]) ** 2).sum(axis=1), batch["one"]),
        engine.labels(module, lambda path: True), optax.adam(learning_rate), devices=devices,
        drop=drop,
    )


def _data(windows: int = 10):
    x = np.random.default_rng(0).standard_normal((windows, 8)).astype(np.float32)
    return {"x": x, "one": np.ones(windows, np.float32)}


def _bits(trainer: engine.Trainer) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in trainer.host_state().items()}


@pytest.mark.slow
def test_the_seed_fixes_what_is_dropped():
    trainers = [_trainer(drop) for drop in (_HALF, _HALF, engine.Dropout(0.5, 1), None)]
    losses = [trainer.train(_data(), np.arange(10), 4).tolist() for trainer in trainers]
    assert losses[0] == losses[1] and _bits(trainers[0]) == _bits(trainers[1])
    assert len(set(map(tuple, losses))) == 3


def test_steps_and_rows_drop_differently():
    # The same window throughout, and nothing moves: what differs between losses is dropout.
    alone, pairs = (
        _trainer(learning_rate=0.0).train(_data(), np.zeros(6 * size, int), size) for size in (1, 2)
    )
    assert len(set(alone.tolist())) == 6
    assert not np.isclose(alone, pairs).any()  # the second row does not drop what the first does


def test_one_device_drops_the_same_as_two_and_eight():
    results = []
    for devices in (jax.devices()[:1], jax.devices()[:2], None):
        trainer = _trainer(devices=devices)
        results.append((trainer.train(_data(), np.arange(10), 4), trainer.host_params()))
    for losses, params in results[1:]:
        np.testing.assert_allclose(losses, results[0][0], rtol=1e-5)
        for path, value in params.items():
            np.testing.assert_allclose(value, results[0][1][path], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_run_that_was_broken_off_ends_with_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    def stop(report):
        if report.epoch == 2:
            raise Stop

    def run(folder, on_epoch):
        trainer, checkpoints = _trainer(), TrainingCheckpoints(tmp_path / folder, {}, every=2)
        try:
            curve = fit(
                trainer, _data(), _data(4), epochs=3, batch_size=2, seed=0, keep_best=False,
                what="training", checkpoints=checkpoints, on_epoch=on_epoch,
            )
        finally:
            checkpoints.close()
        return curve, _bits(trainer)

    with pytest.raises(Stop):
        run("broken", stop)
    told = []
    found = run("broken", told.append)
    assert [report.epoch for report in told] == [2, 3]  # not from the start
    assert found == run("whole", None)


def test_validation_drops_nothing():
    trainer = _trainer()
    trainer.train(_data(), np.arange(10), 4)
    expected = float(np.mean((trainer.module()(_data()["x"]) ** 2).sum(axis=1)))
    assert trainer.loss(_data(), 4) == pytest.approx(expected, rel=1e-5)


def test_without_dropout_checkpoints_are_what_they_were():
    assert set(_trainer().host_state()) - set(_trainer(None).host_state()) == {"[3]['step']"}


def test_an_unfrozen_papagei():
    encoder = mp.create("papagei", rngs=nnx.Rngs(0), depth=1, features=4, embedding_features=4)
    labels = np.arange(8) % 2
    signals = np.random.default_rng(0).normal(0, 1 + labels[:, None, None], (8, 1, 24))
    windows, first = (signals.astype(np.float32), labels), []
    for rate in (0.0, 0.5):
        settings = HeadSettings(unfrozen=True, epochs=1, batch_size=8, dropout=rate)
        _, curve = fit_unfrozen(encoder, windows, windows, 2, settings, seed=0)
        first.append(curve[0].train_loss)
    assert first[0] != first[1]


def test_a_frozen_encoder_drops_nothing():
    head = TaskHead(3, 2, rngs=nnx.Rngs(0))
    assert not supervised_trainer(head, HeadSettings(dropout=0.5)).draws
    assert supervised_trainer(head, HeadSettings(dropout=0.5, unfrozen=True)).draws


@pytest.mark.parametrize(("encoder", "rate", "message"), [
    ("papagei", 1.0, "dropout is 1; give 0 to below 1"),
    ("papagei", -0.1, "dropout is -0.1"),
    ("labram", 0.5, "labram has no dropout here"),
])
def test_refusals(encoder, rate, message):
    encoder = nnx.eval_shape(lambda: mp.create(encoder, rngs=nnx.Rngs(0), depth=1))
    windows = np.zeros((8, 1), np.float32), np.arange(8) % 2
    settings = HeadSettings(unfrozen=True, dropout=rate)
    with pytest.raises(InputError, match=message):
        fit_unfrozen(encoder, windows, windows, 2, settings, seed=0)
