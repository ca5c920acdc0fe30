"""Results as one tidy table: a row per number."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxbridge.methods.cost import Cost
from jaxbridge.run_folder import write_rows
from jaxbridge.statistics.calibration import calibration
from jaxbridge.statistics.confusion import SCORES
from jaxbridge.statistics.intervals import intervals
from jaxbridge.statistics.predictions import Predictions

KEYS = ("study", "dataset", "method", "seed", "fold", "subject", "split", "metric")
COSTS = tuple(Cost.__dataclass_fields__)
COLUMNS = (*KEYS, "value", "low", "high", *COSTS)
"""Columns of the table. An empty seed and fold stand for the mean over all, an empty subject for all
windows; low and high are a 95 % interval over subjects, empty where there is none."""


def run_rows(
    about: Mapping[str, Any], predictions: Predictions, cost: Cost | None = None
) -> list[dict[str, Any]]:
    """Returns the rows of one method, seed, fold and split.

    Of all windows: every score of `SCORES`, "ece", "log_loss" and "windows". Of each subject: those
    scores that are defined, and counts "true_i_predicted_j", from which every score and interval can
    be computed again.

    Args:
        about: "study", "dataset", "method", "split".
        predictions: what the method said.
        cost: what it took; empty columns without.
    """
    common = {"seed": predictions.seed, "fold": predictions.fold}
    names = sorted(set(predictions.subjects))
    counts = predictions.confusions(names)
    rows = [
        _row(about, cost, **common, subject="", metric=metric, value=value)
        for metric, value in {**_scores(counts.sum(axis=0)), **_of_probabilities(predictions)}.items()
    ]
    for name, confusion in zip(names, counts, strict=True):
        cells = {
            f"true_{i}_predicted_{j}": int(confusion[i, j]) for i, j in np.ndindex(confusion.shape)
        }
        rows += [
            _row(about, cost, **common, subject=name, metric=metric, value=value)
            for metric, value in {**_scores(confusion), **cells}.items()
        ]
    return rows


def summary_rows(
    about: Mapping[str, Any], runs: Sequence[Predictions], costs: Sequence[Cost] = (), *,
    resamples: int = 2000,
) -> list[dict[str, Any]]:
    """Returns the rows of one method and split over all seeds and folds, with intervals.

    Args:
        about: "study", "dataset", "method", "split".
        runs: see `intervals`.
        costs: of the runs; their mean is given.
        resamples: draws of the bootstrap.
    """
    mean = None
    if costs:
        mean = {name: float(np.mean([getattr(cost, name) for cost in costs])) for name in COSTS}
    common = {"seed": "", "fold": "", "subject": ""}
    rows = [
        _row(about, mean, **common, metric=name, value=found.value, low=found.low, high=found.high)
        for name, found in intervals(runs, resamples=resamples).items()
    ]
    others = [_of_probabilities(run) for run in runs]
    rows += [
        _row(about, mean, **common, metric=name, value=float(np.mean([o[name] for o in others])))
        for name in others[0]
    ]
    return rows


def write_table(path: str | pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as a CSV file with `COLUMNS`."""
    write_rows(pathlib.Path(path), [{name: row[name] for name in COLUMNS} for row in rows])


def _row(about: Mapping[str, Any], cost: Cost | Mapping | None, **values: Any) -> dict[str, Any]:
    costs = cost.as_dict() if isinstance(cost, Cost) else cost or {}
    found = {**about, **values, **costs}
    return {name: found.get(name, "") for name in COLUMNS}


def _scores(confusion: np.ndarray) -> dict[str, float]:
    found = {name: float(score(confusion)) for name, score in SCORES.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _of_probabilities(predictions: Predictions) -> dict[str, float]:
    probabilities, labels = predictions.probabilities, predictions.labels
    own = probabilities[np.arange(len(labels)), labels]
    return {
        "ece": calibration(probabilities, labels).ece,
        "log_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
        "windows": len(labels),
    }
