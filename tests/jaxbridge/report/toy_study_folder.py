"""A study's folder of made-up predictions."""

import json
import math
import pathlib
from collections.abc import Mapping

from jaxbridge.methods.cost import Cost
from jaxbridge.statistics.curves import curve_rows
from jaxbridge.statistics.predictions import Predictions
from jaxbridge.statistics.tidy import run_rows, summary_rows, write_table
from tests.jaxbridge.statistics.runs import run

SKILL = {"bridge": 0.85, "bridge, 20 %": 0.7, "KD & <co>": 0.8, "stitching": 0.65, "oracle": 0.95}
STUDY = {
    "title": "Toy study", "command": "python -m launch.study --study=toy --out='a b'",
    "settings": {"seeds": [0, 1], "bridge": {"rank": 8}}, "versions": {"jax": "1.2.3"},
    "baselines": ["KD & <co>", "stitching"], "controls": ["oracle"],
}
AXIS = {"label": "pair windows used (%)", "log": True, "points": {
    "bridge": {"series": "bridge", "x": 100}, "bridge, 20 %": {"series": "bridge", "x": 20},
    "not run": {"series": "bridge", "x": 5},
}}


def write_study(
    folder: pathlib.Path, *, people: int = 6, datasets: tuple[str, ...] = ("toys",),
    curves: bool = True, costs: bool = True, name: str = "toy",
    skills: Mapping[str, float] = SKILL, **study: object,
) -> dict[str, list[Predictions]]:
    """Writes results.csv and study.json; returns the last data set's predictions by method."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, found = [], {}
    for dataset in datasets:
        for number, (method, skill) in enumerate(skills.items()):
            about = {"study": name, "dataset": dataset, "method": method, "split": "test"}
            runs = [run(skill, seed=seed, people=people, draw=number) for seed in (0, 1)]
            cost = Cost(10 ** (number + 1), 500, 3 * 10**7, 12.5 * (number + 1), math.nan, 48, 1e6, 2e6)
            for one in runs:
                rows += run_rows(about, one, cost if costs else None)
            if people > 2:
                rows += summary_rows(about, runs, [cost, cost] if costs else [], resamples=200)
            if curves:
                rows += curve_rows(about, runs)
            found[method] = runs
    write_table(folder / "results.csv", rows)
    (folder / "study.json").write_text(json.dumps(STUDY | study))
    return found
