"""A study's tidy table, read back."""

import csv
import gzip
import math
import pathlib
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.report.page.calibration_figures import Answered, Reliability
from jaxbridge.statistics.comparison import Comparison, against_best
from jaxbridge.statistics.intervals import Interval
from jaxbridge.statistics.predictions import Predictions
from jaxbridge.statistics.tidy import COLUMNS, COSTS
from model_ports.errors import InputError

_CELL = re.compile(r"true_(\d+)_predicted_(\d+)")


class Part(NamedTuple):
    """The test rows of one study and data set.

    Attributes:
        study, dataset: names.
        rows: as read.
    """

    study: str
    dataset: str
    rows: list[dict[str, str]]

    @property
    def methods(self) -> list[str]:
        """Names in the table's order."""
        return list(dict.fromkeys(row["method"] for row in self.rows))

    @property
    def num_classes(self) -> int:
        """Classes, from the counts of subjects."""
        cells = (_CELL.fullmatch(row["metric"]) for row in self.rows)
        return 1 + max((int(cell.group(1)) for cell in cells if cell), default=1)

    @property
    def subjects(self) -> set[str]:
        """Names of the test subjects."""
        return {row["subject"] for row in self.rows} - {""}

    def summary(self, method: str) -> dict[str, Interval]:
        """Returns metric -> mean over seeds and folds, with its interval (NaN where there is none)."""
        return {
            row["metric"]: Interval(*(_number(row[k]) for k in ("value", "low", "high")))
            for row in self._pooled(method) if "@" not in row["metric"]
        }

    def costs(self, method: str) -> dict[str, float]:
        """Returns the mean costs, NaN where not measured."""
        rows = [row for row in self._pooled(method) if row["trainable_parameters"]]
        return {name: _number(rows[0][name]) if rows else math.nan for name in COSTS}

    def runs(self, method: str, metric: str) -> list[float]:
        """Returns the metric of every seed and fold."""
        return [
            _number(row["value"]) for row in self.rows
            if row["method"] == method and row["seed"] and not row["subject"]
            and row["metric"] == metric
        ]

    def reliability(self, method: str) -> Reliability | None:
        """Returns what `statistics.curves` wrote, None without."""
        curves = self._curves(method)
        if "reliability_windows" not in curves:
            return None
        return Reliability(*(
            np.array(list(curves[f"reliability_{what}"].values()))
            for what in ("windows", "confidence", "accuracy")
        ))

    def answered(self, method: str) -> Answered | None:
        """Returns what `statistics.curves` wrote, None without."""
        curve = self._curves(method).get("abstention_balanced_accuracy")
        return None if curve is None else Answered(*map(np.array, (list(curve), list(curve.values()))))

    def comparisons(
        self, baselines: Collection[str], controls: Collection[str]
    ) -> tuple[list[Comparison], list[str]]:
        """Compares the methods that are no controls with the best baseline, from subjects' counts.

        Returns:
            The comparisons, and the methods left out since a seed or fold of theirs is missing.

        Raises:
            InputError: no baseline is whole, or see `against_best`.
        """
        # Averages over methods have no counts.
        found = {m: runs for m in self.methods if m not in controls and (runs := self._predictions(m))}
        most = {(run.seed, run.fold) for runs in found.values() for run in runs}
        whole = {m: runs for m, runs in found.items() if len(runs) == len(most)}
        if not any(b in whole for b in baselines):
            raise InputError("no baseline has every seed and fold; run the missing ones.")
        compared = against_best(whole, [b for b in baselines if b in whole])
        return compared, [m for m in found if m not in whole]

    def _pooled(self, method: str) -> list[dict[str, str]]:
        return [
            row for row in self.rows
            if row["method"] == method and not (row["seed"] or row["fold"] or row["subject"])
        ]

    def _curves(self, method: str) -> dict[str, dict[float, float]]:
        found: dict[str, dict[float, float]] = {}
        for row in self._pooled(method):
            name, at, place = row["metric"].partition("@")
            if at:
                found.setdefault(name, {})[float(place)] = _number(row["value"])
        return {name: dict(sorted(points.items())) for name, points in found.items()}

    def _predictions(self, method: str) -> list[Predictions]:
        """Predictions that have the subjects' confusion counts; their confidence means nothing."""
        counts: dict[tuple[int, int], list[tuple[str, int, int, int]]] = {}
        for row in self.rows:
            cell = _CELL.fullmatch(row["metric"])
            if row["method"] == method and row["subject"] and cell:
                key = int(row["seed"]), int(row["fold"])
                counts.setdefault(key, []).append(
                    (row["subject"], *map(int, cell.groups()), round(_number(row["value"])))
                )
        return [_filled(cells, *key) for key, cells in sorted(counts.items())]


def read_parts(path: pathlib.Path) -> list[Part]:
    """Returns the parts of a results.csv, or of a results.csv.gz, in its order.

    Raises:
        InputError: no such file, a damaged one, other columns, or no test rows.
    """
    if not path.exists():
        raise InputError(f"there is no {path}; run the study first.")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), [*reader]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); run the study again.") from None
    if missing := sorted(set(COLUMNS) - set(columns)):
        raise InputError(f"{path} lacks columns {', '.join(missing)}; it is no table of a study.")
    for line, row in enumerate(rows, 2):
        if not _whole(row):
            raise InputError(f"{path} is damaged in row {line}; run the study again.")
    rows = [row for row in rows if row["split"] == "test"]
    if not rows:
        raise InputError(f"{path} has no rows of split test; the study has not finished a method.")
    keys = dict.fromkeys((row["study"], row["dataset"]) for row in rows)
    parts = {key: Part(*key, []) for key in keys}
    for row in rows:
        parts[row["study"], row["dataset"]].rows.append(row)
    return list(parts.values())


def _filled(cells: Sequence[tuple[str, int, int, int]], seed: int, fold: int) -> Predictions:
    # The same windows in the same order for every method, whatever it predicted.
    cells = sorted(cells)
    repeats = [count for *_, count in cells]
    subjects, labels, predicted = (
        np.repeat([cell[i] for cell in cells], repeats) for i in range(3)
    )
    classes = 1 + max(max(true, said) for _, true, said, _ in cells)
    return Predictions(np.eye(classes, dtype=np.float32)[predicted], labels, subjects, seed, fold)


def _whole(row: Mapping[str, str | None]) -> bool:
    """Tells whether a row has every cell, and numbers where they must be."""
    if None in row or None in row.values():
        return False
    try:
        for name in ("seed", "fold", "value", "low", "high", *COSTS):
            _number(row[name])
    except ValueError:
        return False
    return True


def _number(text: str | float) -> float:
    return float(text) if text not in ("", None) else math.nan


def varied(axis: Mapping, methods: Collection[str]) -> dict[str, list[tuple[float, str]]]:
    """Returns series -> (x, method), ascending, of the methods that have a place on the axis."""
    series: dict[str, list[tuple[float, str]]] = {}
    for method, point in axis["points"].items():
        if method in methods:
            series.setdefault(point["series"], []).append((float(point["x"]), method))
    return {name: sorted(points) for name, points in series.items()}
