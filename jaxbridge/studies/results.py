"""What a study found, as a table and a description."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from jaxbridge.run_folder import versions, write_json
from jaxbridge.statistics.curves import curve_rows
from jaxbridge.statistics.tidy import run_rows, summary_rows, write_table
from jaxbridge.studies.jobs import Job, Result
from jaxbridge.studies.setup import Setup
from jaxbridge.studies.variation import Study

# Fewer cannot be resampled.
_FEWEST_PEOPLE = 3


def write_results(
    study: Study, setup: Setup, seeds: Sequence[int], jobs: Sequence[Job], command: str
) -> None:
    """Writes results.csv and study.json of the jobs that are done, see `jaxbridge.studies`.

    Args:
        study, setup, seeds: what was asked.
        jobs: all of them.
        command: that started it.
    """
    folder = jobs[0].study_folder
    found: dict[str, list[Result]] = {v.name: [] for v in study.variations}
    for job in jobs:
        if job.done():
            found[job.variation.name].append(job.result())
    found = {name: results for name, results in found.items() if results}
    averages = _averages(study, found)
    if found:
        about = {"study": study.name, "dataset": setup.dataset, "split": "test"}
        rows: list[dict[str, Any]] = []
        for name, results in found.items():
            for result in results:
                rows += run_rows({**about, "method": name}, result.predictions, result.cost)
        for name, results in {**found, **averages}.items():
            if _enough_people(results):
                rows += summary_rows(
                    {**about, "method": name}, [r.predictions for r in results],
                    [r.cost for r in results],
                )
                rows += curve_rows({**about, "method": name}, [r.predictions for r in results])
        _atomically(folder / "results.csv", rows)
    else:  # that of jobs which were removed since
        (folder / "results.csv").unlink(missing_ok=True)
    controls = [v.name for v in study.variations if v.method.is_control]
    failed = [failure for job in jobs if (failure := job.failure()) is not None]
    missing = sum(not job.done() for job in jobs)
    settings = json.loads(json.dumps(setup.settings.identity()))
    del settings["seed"]  # each case has its own
    scan_folds = settings.pop("folds")
    write_json(folder / "study.json", {
        "title": study.title, "command": command,
        "settings": {
            "study": study.name, "dataset": setup.dataset, "seeds": list(seeds),
            "subject_folds": setup.folds or None, "scan_folds": scan_folds, **settings, **setup.about,
        },
        "versions": versions(),
        "baselines": [name for name in study.baselines if name in found],
        "controls": [name for name in controls if name in found],
        "notes": [*study.notes, *_shortcomings(failed, missing)],
        **({"axis": axis} if (axis := _axis(study)) else {}),
        "variations": [v.as_dict() for v in study.variations],
        "failed": failed, "missing": missing,
        "seconds": sum(r.seconds for results in found.values() for r in results),
        "cpu_seconds": sum(r.cpu_seconds for results in found.values() for r in results),
    })


def _axis(study: Study) -> dict[str, Any] | None:
    """What the page draws scores over: the first axis, if it is one of numbers."""
    if not study.axes or study.axes[0].scale == "category":
        return None
    axis = study.axes[0]
    return {
        "label": f"{axis.name} ({axis.unit})" if axis.unit else axis.name,
        "log": axis.scale == "log",
        "points": {
            v.name: {"series": v.group or v.name, "x": v.values[axis.name]}
            for v in study.variations
        },
    }


def _shortcomings(failed: Sequence[dict[str, Any]], missing: int) -> list[str]:
    notes = [
        f"{f['variation']}, seed {f['seed']}, fold {f['fold']} failed: {f['error']}" for f in failed
    ]
    if missing:
        notes.append(f"{missing} jobs have not been run, those that failed included.")
    return notes


def _enough_people(results: Sequence[Result]) -> bool:
    names = {name for result in results for name in result.predictions.subjects}
    return len(names) >= _FEWEST_PEOPLE


def _averages(study: Study, found: dict[str, list[Result]]) -> dict[str, list[Result]]:
    """Groups that count as one: each of their runs is one more seed of it."""
    averages = {}
    for group in study.averages:
        members = [v.name for v in study.variations if v.group == group and v.name in found]
        runs = [
            result._replace(predictions=dataclasses.replace(
                result.predictions, seed=len(members) * result.predictions.seed + i
            ))
            for i, name in enumerate(members) for result in found[name]
        ]
        if runs:
            averages[f"{group}, mean of {len(members)}"] = runs
    return averages


def _atomically(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
    aside = path.with_name(f".{path.name}.partial")
    write_table(aside, rows)
    aside.replace(path)
