"""The table holds enough to compute every interval again."""

import csv
import math

import numpy as np
import pytest

from jaxbridge.methods.cost import Cost
from jaxbridge.statistics.confusion import SCORES
from jaxbridge.statistics.intervals import intervals
from jaxbridge.statistics.tidy import COLUMNS, run_rows, summary_rows, write_table
from tests.jaxbridge.statistics.runs import run

_ABOUT = {"study": "s", "dataset": "d", "method": "KD", "split": "test"}
_COST = Cost(10, 20, 300, 1.5, math.nan, 48, 1e3, 2e3)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tidy") / "results.csv"
    runs = [run(0.7, seed=seed, people=4) for seed in (0, 1)]
    rows = [row for one in runs for row in run_rows(_ABOUT, one, _COST)]
    write_table(path, [*rows, *summary_rows(_ABOUT, runs, [_COST, _COST])])
    with path.open(newline="") as file:
        return runs, list(csv.DictReader(file))


def test_rows_are_unique_and_complete(table):
    _, rows = table
    assert tuple(rows[0]) == COLUMNS
    keys = [tuple(row[k] for k in ("seed", "fold", "subject", "metric")) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row["trainable_parameters"] for row in rows} == {"10", "10.0"}
    assert all(row["value"] for row in rows)


def test_pooled_scores_follow_from_the_counts_of_subjects(table):
    runs, rows = table
    confusion = np.zeros((2, 2))
    for row in rows:
        if row["seed"] == "1" and row["subject"] and row["metric"].startswith("true_"):
            _, i, _, j = row["metric"].split("_")
            confusion[int(i), int(j)] += float(row["value"])
    assert confusion.sum() == len(runs[1].labels)
    for name, score in SCORES.items():
        value, = (
            float(r["value"]) for r in rows
            if (r["seed"], r["subject"], r["metric"]) == ("1", "", name)
        )
        assert value == pytest.approx(float(score(confusion)))


def test_the_summary_has_the_mean_over_seeds_and_its_interval(table):
    runs, rows = table
    wanted = intervals(runs)["balanced_accuracy"]
    row, = (r for r in rows if r["seed"] == "" and r["metric"] == "balanced_accuracy")
    assert tuple(float(row[k]) for k in ("value", "low", "high")) == pytest.approx(wanted)
    seeds = [float(r["value"]) for r in rows
             if r["seed"] and not r["subject"] and r["metric"] == "balanced_accuracy"]
    assert float(row["value"]) == pytest.approx(np.mean(seeds))
    assert {r["metric"] for r in rows if r["seed"] == ""} == {*SCORES, "ece", "log_loss", "windows"}
