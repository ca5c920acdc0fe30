"""The log of epochs: whole lines, none twice, also after a kill."""

import datetime
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from jaxbridge.training.fitting import EpochReport
from jaxbridge.training.metric_log import MetricLog, read_log, require
from model_ports.errors import InputError


def _report(epoch: int, what: str = "training", val_loss: float = 0.5) -> EpochReport:
    return EpochReport(what, epoch, 1 / epoch, val_loss, 10 * epoch, windows=120, seconds=0.5)


def test_a_row_says_everything(tmp_path):
    before = datetime.datetime.now(datetime.UTC)
    with MetricLog(tmp_path, "bridge") as log:
        log.add(_report(2, val_loss=float("nan")))
    (row,) = read_log(tmp_path / "log.jsonl")
    time = datetime.datetime.fromisoformat(row.pop("time"))
    assert abs(time - before) < datetime.timedelta(minutes=1) and not time.utcoffset()
    assert row == {
        "stage": "bridge", "what": "training", "epoch": 2, "step": 20, "train_loss": 0.5,
        "val_loss": None, "seconds": 0.5, "windows_per_s": 240.0,
    }


def test_repeated_epochs_and_broken_lines_leave_no_trace(tmp_path):
    with MetricLog(tmp_path, "bridge") as log:
        for epoch in (1, 2):
            log.add(_report(epoch))
    path = tmp_path / "log.jsonl"
    with path.open("a") as file:
        file.write('{"stage": "bridge", "wh')  # the process died here
    with MetricLog(tmp_path, "bridge") as log:
        for epoch in (2, 3):
            log.add(_report(epoch))
        log.add(_report(1, what="another training"))
    assert [(row["what"], row["epoch"]) for row in read_log(path)] == [
        ("training", 1), ("training", 2), ("training", 3), ("another training", 1)
    ]


def test_a_damaged_log_is_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(InputError, match="line 1 is damaged"):
        MetricLog(tmp_path, "bridge")


@pytest.mark.slow
def test_a_killed_run_logs_every_epoch_once(tmp_path):
    """A real process is killed and goes on; its log is the curve, without gap or repetition."""
    def run(*more: str) -> int:
        command = [sys.executable, "-m", "tests.jaxbridge.training.interrupted"]
        return subprocess.run(
            [*command, str(tmp_path / "run"), str(tmp_path / "out.npz"), "placed", *more],
            check=False, capture_output=True,
        ).returncode

    assert run("23.5") == -signal.SIGKILL
    logged = len(read_log(tmp_path / "run" / "log.jsonl"))
    assert 0 < logged < 20
    assert run() == 0
    rows = read_log(tmp_path / "run" / "log.jsonl")
    with np.load(tmp_path / "out.npz") as arrays:
        curve = arrays["curve"].tolist()
    assert [[row["epoch"], row["train_loss"], row["val_loss"]] for row in rows] == curve
    assert [row["step"] for row in rows] == list(range(13, 13 * 21, 13))


def test_missing_packages_and_unknown_logs_are_told(monkeypatch):
    for package in ("tensorboardX", "mlflow"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'jaxbridge\[tensorboard\]'"):
        require(["jsonl", "tensorboard"])
    with pytest.raises(InputError, match=r"pip install 'jaxbridge\[mlflow\]'"):
        require(["mlflow"])
    with pytest.raises(InputError, match="no log wandb; there are jsonl, tensorboard, mlflow"):
        require(["wandb"])


def test_tensorboard_events(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto import event_pb2

    for epoch in (1, 2):
        with MetricLog(tmp_path, "bridge", ["tensorboard"]) as log:
            log.add(_report(1))
            log.add(_report(epoch))
    found = {}
    for path in (tmp_path / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:  # length, its checksum, record, its checksum
            (size,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = value.simple_value
    assert found["training/train_loss", 1] == 1 and found["training/train_loss", 2] == 0.5
    assert found["training/windows_per_s", 2] == 240
    assert len(found) == 8


def test_mlflow_goes_on_in_the_same_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    for epoch in (1, 2):
        with MetricLog(tmp_path, "bridge", ["mlflow"]) as log:
            log.add(_report(epoch))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("jaxbridge")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "training/train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert run.data.tags["stage"] == "bridge"
