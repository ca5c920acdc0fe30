"""Local epochs come before the others, and a killed run goes on behind them with the same bits."""

import dataclasses

import numpy as np
import pytest

from jaxbridge import BridgeSettings
from jaxbridge.methods import Bridge
from jaxbridge.training.checkpoints import TrainingCheckpoints
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study

SETTINGS = dataclasses.replace(toy_study.SETTINGS.bridge, epochs=3, local_epochs=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_study.prepare(tmp_path_factory.mktemp("study"), toy_study.windows())


def _bridge(model) -> dict[str, np.ndarray]:
    return toy_study.leaves(model.bridge)


def _assert_same(one, other):
    for name, value in _bridge(one).items():
        np.testing.assert_array_equal(_bridge(other)[name], value)


def test_they_are_a_training_at_the_bridges_output_and_then_one_at_the_last_layer(data):
    local = dataclasses.replace(SETTINGS, location="bridge_output", epochs=4, local_epochs=0)
    started, _ = data.train(Bridge(settings=local).untrained(data, 5), local, seed=5)
    wanted, curve = data.train(started, dataclasses.replace(SETTINGS, local_epochs=0), seed=5)
    found = Bridge(settings=SETTINGS).fit(data, 5)
    _assert_same(found.model, wanted)
    assert found.curve == curve
    for name, value in toy_study.leaves(data.teacher.encoder).items():
        np.testing.assert_array_equal(toy_study.leaves(found.model.old)[name], value)


def test_a_killed_run_goes_on_behind_them(data, tmp_path):
    bridge, seen = Bridge(settings=SETTINGS), []
    whole, curve = data.train(bridge.untrained(data, 5), SETTINGS, seed=5)

    def stop(report) -> None:
        seen.append(report.what)
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept = TrainingCheckpoints(tmp_path / "c", {}, every=3)
        data.train(bridge.untrained(data, 5), SETTINGS, seed=5, checkpoints=kept, on_epoch=stop)
    kept.close()
    kept = TrainingCheckpoints(tmp_path / "c", {}, every=3)
    assert kept.latest() is not None
    again, after = data.train(
        bridge.untrained(data, 5), SETTINGS, seed=5, checkpoints=kept,
        on_epoch=lambda report: seen.append(report.what),
    )
    kept.close()
    _assert_same(again, whole)
    assert after == curve and not any("locally" in what for what in seen)


@pytest.mark.parametrize("changes", [
    {"local_epochs": -1}, {"local_epochs": 2, "location": "bridge_output"},
])
def test_refusals(changes):
    with pytest.raises(InputError, match="local_epochs"):
        BridgeSettings(**changes)


def test_what_local_epochs_cannot_move_they_leave():
    settings = BridgeSettings(local_epochs=2, trainable="bridge_and_head", logit_weight=1.0, patience=3)
    assert (settings.local.trainable, settings.local.logit_weight) == ("bridge", 0.0)
    assert settings.local.patience is None and settings.local.epochs == 2
    low = dataclasses.replace(settings, trainable="low_rank")
    assert low.local.trainable == "low_rank"
