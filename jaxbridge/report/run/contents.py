"""What is in a run's folder, as far as it got there."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbridge.run_folder import read_arrays, read_curve, read_json
from jaxbridge.selection.two_stage import Selection
from jaxbridge.statistics.intervals import Interval, intervals
from jaxbridge.statistics.predictions import Predictions
from jaxbridge.training.fitting import Epoch
from model_ports.errors import InputError

_STAGES = ("teacher", "features", "scan", "bridge", "controls", "report")


@dataclasses.dataclass(frozen=True)
class RunContents:
    """A run folder; whatever a run did not make is None or empty.

    Attributes:
        path: the run folder.
        record: run.json.
        about: see `record.write_record`.
        flags: of the script that started it.
        command: that was typed.
        selection: the scan.
        curves: stage -> name -> epochs.
        metrics: rows of report/metrics.json.
        stages: name -> {"seconds", "peak_memory_bytes"}.
        predictions: method -> what it said of the test windows; subjects "" where unknown.
        examples: "<class index>/<modality>" -> window.
    """

    path: pathlib.Path
    record: Mapping[str, Any]
    about: Mapping[str, Any] | None
    flags: Mapping[str, Any] | None
    command: str | None
    selection: Selection | None
    curves: Mapping[str, Mapping[str, list[Epoch]]]
    metrics: list[dict[str, Any]]
    stages: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, Predictions]
    examples: Mapping[str, np.ndarray]

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.record["settings"]

    @property
    def classes(self) -> list[str]:
        return self.settings["class_names"]

    @property
    def head_given(self) -> bool:
        """Whether the run started from a head that was fitted before."""
        return "given_head" in self.settings

    def signal(self, role: str) -> str:
        """Returns the old or new modality's name for a heading."""
        name = self.settings[f"{role}_modality"]
        return name.upper() if len(name) <= 4 else name

    def encoder(self, role: str) -> str:
        return self.settings[role]["name"]

    def of(self, method: str, split: str = "test") -> dict[str, Any] | None:
        """Returns a method's row of metrics."""
        rows = [r for r in self.metrics if (r["method"], r["split"]) == (method, split)]
        return rows[0] if rows else None

    def intervals(self, method: str) -> dict[str, Interval]:
        """Returns 95 % intervals over test subjects; none where there are fewer than three."""
        found = self.predictions.get(method)
        if found is None or not all(found.subjects):
            return {}
        try:
            return intervals([found])
        except InputError:
            return {}


def read_run(run: pathlib.Path) -> RunContents:
    """Reads a run folder and, where they are, the flags and the command beside it.

    Raises:
        InputError: it is none.
    """
    run = pathlib.Path(run)
    record = _json(run / "run.json")
    if record is None:
        raise InputError(f"{run} is no run folder: it has no run.json.")
    if not isinstance(record, Mapping) or not {"settings", "versions"} <= record.keys():
        raise InputError(f"{run / 'run.json'} is damaged, or not of this package; name another folder.")
    selection = _json(run / "scan" / "selection.json")
    curves = {
        "teacher": {"teacher": run / "teacher" / "curve.csv"},
        "bridge": {
            "bridge": run / "bridge" / "curve.csv",
            "shuffled pairs": run / "controls" / "shuffled_curve.csv",
        },
    }
    test = _arrays(run / "report" / "test.npz")
    stages = {name: _json(run / name / "done.json") for name in _STAGES}
    return RunContents(
        path=run, record=record, about=_json(run / "report" / "about.json"),
        flags=_json(run.parent / "flags.json"),
        command=(_json(run.parent / "command.json") or {}).get("command"),
        selection=None if selection is None else Selection.from_dict(selection),
        curves={
            stage: {
                name: curve for name, path in files.items()
                if path.exists() and (curve := read_curve(path))
            }
            for stage, files in curves.items()
        },
        metrics=_json(run / "report" / "metrics.json") or [],
        stages={name: done for name, done in stages.items() if done is not None},
        predictions=_predictions(test, _arrays(run / "controls" / "predictions.npz")),
        examples=_arrays(run / "report" / "examples.npz"),
    )


def _predictions(
    test: Mapping[str, np.ndarray], controls: Mapping[str, np.ndarray]
) -> dict[str, Predictions]:
    if not test:
        return {}
    labels, count = test["labels"], test["teacher"].shape[1]
    subjects = test["subjects"] if test["subjects"].size else np.full(len(labels), "")
    found = {name: test[name] for name in ("teacher", "bridge")}
    # Of the controls only classes are kept.
    found |= {
        method: np.eye(count, dtype=np.float32)[controls[name]]
        for method, name in (("bridge, shuffled pairs", "shuffled_test"), ("oracle", "oracle_test"))
        if name in controls
    }
    return {name: Predictions(logits, labels, subjects) for name, logits in found.items()}


def _json(path: pathlib.Path) -> Any:
    return read_json(path) if path.exists() else None


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    return read_arrays(path) if path.exists() else {}
