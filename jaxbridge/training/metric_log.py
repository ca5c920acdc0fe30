"""What a training reports after every epoch: `log.jsonl`, and TensorBoard or MLflow beside it.

A line of `log.jsonl` is one JSON object:

    stage           the run's stage
    what            which training of that stage
    epoch, step     counted from 1, steps over all epochs so far
    train_loss, val_loss    see `fitting.Epoch`; null where not finite
    seconds         the epoch took, the validation loss included
    windows_per_s   training windows over these seconds
    time            end of the epoch, UTC, ISO 8601
"""

import datetime
import json
import math
import os
import pathlib
from collections.abc import Collection
from typing import Any, Protocol

import jax

from jaxbridge.training.fitting import EpochReport
from model_ports.errors import InputError

KINDS = ("jsonl", "tensorboard", "mlflow")
_SCALARS = ("train_loss", "val_loss", "seconds", "windows_per_s")
_FILE = "log.jsonl"


class _Sink(Protocol):
    def add(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


def require(kinds: Collection[str]) -> None:
    """Refuses unknown kinds of log, and those whose package is not installed (`InputError`)."""
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise InputError(f"there is no log {', '.join(unknown)}; there are {', '.join(KINDS)}.")
    if "tensorboard" in kinds:
        _tensorboard()
    if "mlflow" in kinds:
        _mlflow()


class MetricLog:
    """The log of one stage; `log.add` is an `on_epoch` of `fit`.

    A run that was killed repeats the epochs after its last checkpoint, to the same bits: those that
    are in `log.jsonl` already are not logged again, anywhere. Of many processes the first one writes.

    Args:
        folder: of the stage; `log.jsonl`, `tensorboard/` and the MLflow run's id go there.
        stage: the stage's name.
        kinds: out of `KINDS`; JSONL is written always. MLflow takes its server and experiment from
            its usual environment variables (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME).

    Raises:
        InputError: see `require`.
    """

    def __init__(self, folder: str | pathlib.Path, stage: str, kinds: Collection[str] = ("jsonl",)):
        require(kinds)
        self.path, self._stage = pathlib.Path(folder) / _FILE, stage
        self._sinks: list[_Sink] = []
        if jax.process_index() != 0:
            return
        _drop_broken_line(self.path)
        self._done = {(row["what"], row["epoch"]) for row in read_log(self.path)}
        if "tensorboard" in kinds:
            self._sinks.append(_TensorBoard(self.path.parent))
        if "mlflow" in kinds:
            self._sinks.append(_MLflow(self.path.parent, stage))

    def add(self, report: EpochReport) -> None:
        """Logs an epoch, unless it is there already."""
        if jax.process_index() != 0 or (report.what, report.epoch) in self._done:
            return
        self._done.add((report.what, report.epoch))
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        row = {
            "stage": self._stage, "what": report.what, "epoch": report.epoch, "step": report.step,
            "train_loss": _finite(report.train_loss), "val_loss": _finite(report.val_loss),
            "seconds": report.seconds, "windows_per_s": report.windows / report.seconds, "time": now,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
        for sink in self._sinks:
            sink.add(row)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_log(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Returns the rows of a `log.jsonl`; none where there is no such file.

    Raises:
        InputError: a line of it is no JSON object.
    """
    path, rows = pathlib.Path(path), []
    if not path.exists():
        return rows
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            row["what"], row["epoch"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: line {number} is damaged; move the file away.") from None
        rows.append(row)
    return rows


def _drop_broken_line(path: pathlib.Path) -> None:
    """Cuts off what a kill in the middle of a write left: a last line without its end."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class _TensorBoard:
    """Event files in `folder`/tensorboard: `tensorboard --logdir=RUN` finds them."""

    def __init__(self, folder: pathlib.Path):
        into = folder / "tensorboard"
        # The package names files by the second; two in one second would be one.
        count = len(list(into.iterdir())) if into.exists() else 0
        self._writer = _tensorboard().SummaryWriter(str(into), filename_suffix=f".{count}")

    def add(self, row: dict[str, Any]) -> None:
        for name in _SCALARS:
            if row[name] is not None:
                tag = f"{row['what'].replace(' ', '_')}/{name}"
                self._writer.add_scalar(tag, row[name], row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """One MLflow run per stage, gone on with after an interruption."""

    def __init__(self, folder: pathlib.Path, stage: str):
        self._client, record = _mlflow().MlflowClient(), folder / "mlflow_run.txt"
        if record.exists():
            self._run = record.read_text().strip()
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxbridge")
            experiment = self._client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(name)
            # The folder's own name may be that of an unfinished stage, its parent is the run.
            about = {"stage": stage, "run_folder": str(folder.parent.absolute())}
            run = self._client.create_run(number, tags=about, run_name=stage)
            self._run = run.info.run_id
            record.write_text(self._run + "\n")

    def add(self, row: dict[str, Any]) -> None:
        for name in _SCALARS:
            if row[name] is not None:
                self._client.log_metric(
                    self._run, f"{row['what']}/{name}", row[name], step=row["epoch"]
                )

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _tensorboard() -> Any:
    try:
        import tensorboardX
    except ImportError:
        raise InputError(
            "the tensorboard log needs a package: pip install 'jaxbridge[tensorboard]'"
        ) from None
    return tensorboardX


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError:
        raise InputError("the mlflow log needs a package: pip install 'jaxbridge[mlflow]'") from None
    return mlflow
