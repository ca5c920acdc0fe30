"""Pretraining as a run: what a kill at its end leaves, and what is refused before the training."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from jaxbridge.data.memory import ArrayWindows
from jaxbridge.pretraining import PretrainSettings, TaskSet, run
from jaxbridge.training import fitting
from model_ports.errors import InputError
from tests.jaxbridge.pretraining.test_multi_task import task_set
from tests.jaxbridge.toy import Toy

_SETTINGS = PretrainSettings(windows_per_set=4, epochs=1)


def _killed(*_, **__):
    raise KeyboardInterrupt


def _given() -> tuple[Toy, list[TaskSet]]:
    return Toy(rngs=nnx.Rngs(0)), [task_set("two", 24, 2, (4, 3))]


def test_a_kill_while_the_trained_encoder_is_measured_costs_no_training(tmp_path, monkeypatch):
    out = {"out": tmp_path / "run", "checkpoint_every": 1}
    with monkeypatch.context() as patched:
        patched.setattr(run, "sweep", _killed)
        with pytest.raises(KeyboardInterrupt):
            run.pretrain_encoder(*_given(), _SETTINGS, **out)
    monkeypatch.setattr(fitting._Run, "_one_epoch", lambda *_: pytest.fail("trained again"))
    found = run.pretrain_encoder(*_given(), _SETTINGS, **out)
    assert [row["split"] for row in found.metrics] == ["train", "val", "test"]
    assert not (tmp_path / "run" / "pretraining" / "training").exists()
    weights = found.folder / "model.safetensors"
    weights.unlink()  # a finished run then tells of no encoder that is not there
    with pytest.raises(InputError, match=f"{weights} is missing; .*--rerun"):
        run.pretrain_encoder(*_given(), _SETTINGS, **out)


def test_sets_in_another_order_are_refused(tmp_path, monkeypatch):
    """A killed run went on with the heads of each other's sets."""
    encoder, sets = Toy(rngs=nnx.Rngs(0)), [task_set(name, 24, 2, (4, 3)) for name in ("b", "a")]
    monkeypatch.setattr(run, "sweep", _killed)
    for _ in range(2):  # in the same order it goes on
        with pytest.raises(KeyboardInterrupt):
            run.pretrain_encoder(encoder, sets, _SETTINGS, out=tmp_path / "run")
    with pytest.raises(InputError, match="on the sets b, a in this order.* or another folder"):
        run.pretrain_encoder(encoder, sets[::-1], _SETTINGS, out=tmp_path / "run")


def test_a_split_that_lacks_a_class_is_refused_before_the_training(tmp_path, monkeypatch):
    """Its metrics would be refused after it, and what was trained removed."""
    monkeypatch.setattr(run, "pretrain", lambda *_, **__: pytest.fail("trained"))
    encoder, (given,) = _given()
    windows, lacking = given.windows, given.windows.labels.copy()
    lacking[windows.splits == "test"] = 0
    signals = windows.read("signal", np.arange(24))
    changed = ArrayWindows({"signal": signals}, lacking, windows.splits, windows.class_names)
    with pytest.raises(InputError, match="set two: Class 'two 1' has no window in split 'test'"):
        run.pretrain_encoder(
            encoder, [dataclasses.replace(given, windows=changed)], _SETTINGS, out=tmp_path / "run"
        )
