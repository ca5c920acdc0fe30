"""Pretraining as a run: what a kill at its end leaves."""

import pytest
from flax import nnx

from jaxbridge.pretraining import PretrainSettings, TaskSet, run
from jaxbridge.training import fitting
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
    monkeypatch.setattr(fitting._Run, "one_epoch", lambda *_: pytest.fail("trained again"))
    found = run.pretrain_encoder(*_given(), _SETTINGS, **out)
    assert [row["split"] for row in found.metrics] == ["train", "val", "test"]
    assert not (tmp_path / "run" / "pretraining" / "training").exists()
