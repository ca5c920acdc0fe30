"""Running a study: a queue of jobs, each done once."""

import gc
import itertools
import json
import logging
import pathlib
import shutil
import time
from collections.abc import Iterable, Sequence

import jax

from jaxbridge.methods import StudyData
from jaxbridge.methods.bridge_grid import fit_grid, grids
from jaxbridge.run_folder import RunFolder
from jaxbridge.studies.jobs import Job
from jaxbridge.studies.results import write_results
from jaxbridge.studies.setup import Case, Setup
from jaxbridge.studies.variation import Study
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


def run_study(
    study: Study, setup: Setup, out: str | pathlib.Path, seeds: Sequence[int], *,
    prepared: str | pathlib.Path | None = None, together: bool = False, command: str = "",
) -> list[Job]:
    """Runs what has not been run of a study, and writes its results.

    A job that fails is noted, and the others go on; a killed study goes on where it was. Results are
    written whenever a case is finished, so that there is something to look at.

    Args:
        study: what to run.
        setup: what on.
        out: folder of the study, see `jaxbridge.studies`.
        seeds: of windows, initial values and orders.
        prepared: folder of the shared data, `out`/data if None; studies on the same setup may share
            it, one at a time.
        together: train bridges on the same data that differ in their settings alone in one compiled
            step; results are the same up to rounding.
        command: that started it, for the record.

    Returns:
        The jobs that failed.

    Raises:
        InputError: the folder holds another study or other settings, no seed or one given twice, or
            every job failed for bad input.
        Preempted: SIGTERM came; the same call goes on.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {list(seeds)}: give different ones, at least one.")
    out = pathlib.Path(out)
    settings = {
        "study": study.name, "dataset": setup.dataset, **setup.settings.identity(), **setup.about,
    }
    if setup.folds:  # "folds" are the scan's: fold 0 of five is not fold 0 of three
        settings["subject_folds"] = setup.folds
    RunFolder(out, json.loads(json.dumps(settings)), ())
    prepared = out / "data" if prepared is None else pathlib.Path(prepared)
    jobs = [Job(out, v, case) for case in setup.cases(seeds) for v in study.variations]
    todo = []
    for job in jobs:
        if job.done():
            job.result()  # a damaged one ends the study now, not when its results are written
        else:
            todo.append(job)
    _log.info("study %s: %d jobs, %d of them done before", study.name, len(jobs), len(jobs) - len(todo))
    errors: list[Exception] = []
    try:
        for i, (case, group) in enumerate(itertools.groupby(todo, key=lambda job: job.case)):
            if i:
                # Every fit compiled programs of its own, which would be kept.
                jax.clear_caches()
                gc.collect()
            errors += _run_case(case, list(group), setup, prepared, together)
            write_results(study, setup, seeds, jobs, command)
    except BaseException:
        write_results(study, setup, seeds, jobs, command)
        raise
    if not todo:
        write_results(study, setup, seeds, jobs, command)
    if errors and not any(job.done() for job in jobs) and isinstance(errors[0], InputError):
        raise errors[0]
    return [job for job in jobs if job.failure() is not None]


def _run_case(
    case: Case, jobs: Sequence[Job], setup: Setup, prepared: pathlib.Path, together: bool
) -> list[Exception]:
    """Runs jobs of one case, those on the same data one after another; returns what went wrong."""
    errors: list[Exception] = []
    for encoder, of_encoder in _grouped(jobs, lambda job: job.variation.encoder):
        try:
            data = setup.prepare(case, encoder, prepared)
        except Exception as error:  # whatever it is, other cases may be well
            errors += _fail(of_encoder, error)
            continue
        for change, of_change in _grouped(of_encoder, lambda job: job.variation.change):
            try:
                changed = change.apply(data, case.seed, data.folder / "changed")
            except Exception as error:
                errors += _fail(of_change, error)
                continue
            if together:
                _run_grids(of_change, changed, setup)
            errors += [e for job in of_change if not job.done() for e in _run_job(job, changed, setup)]
    return errors


def _run_grids(jobs: Sequence[Job], data: StudyData, setup: Setup) -> None:
    """Runs what can be trained together; what fails so is left to be run by itself."""
    try:
        parts = grids([job.variation.method for job in jobs], data)
    except InputError:  # told of by the job whose settings do not fit these data
        return
    for grid in parts:
        some, started = [jobs[i] for i in grid], (time.monotonic(), time.process_time())
        _log.info("%s, %s ...", "; ".join(job.variation.name for job in some), some[0].case.folder)
        folder = some[0].study_folder / "jobs" / f".together.{some[0].case.folder}"
        resumed = (folder / "training").exists()
        try:
            found = fit_grid(
                [job.variation.method for job in some], data, some[0].case.seed, folder=folder
            )
        except Exception as error:  # for want of memory, too, of which one alone needs less
            _log.warning("not together (%s); one by one", error)
            shutil.rmtree(folder, ignore_errors=True)
            continue
        spent = (
            (time.monotonic() - started[0]) / len(some),
            (time.process_time() - started[1]) / len(some),
        )
        for job, fitted in zip(some, found, strict=True):
            try:
                job.finish(fitted, data, setup, spent, resumed=resumed)
            except Exception as error:
                _log.warning("%s: not together (%s); by itself", job.variation.name, error)
        shutil.rmtree(folder, ignore_errors=True)


def _run_job(job: Job, data: StudyData, setup: Setup) -> list[Exception]:
    _log.info("%s, %s ...", job.variation.name, job.case.folder)
    try:
        job.run(data, setup)
    except Exception as error:
        return _fail([job], error)
    return []


def _fail(jobs: Iterable[Job], error: Exception) -> list[Exception]:
    for job in jobs:
        job.failed(error)
    return [error]


def _grouped(jobs: Iterable[Job], key) -> list[tuple]:
    """Groups in order of first appearance, wherever their members stand."""
    groups: dict = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.items())
