"""Running a study: a queue of jobs, each done once."""

import gc
import itertools
import json
import logging
import pathlib
from collections.abc import Iterable, Sequence

import jax

from jaxbridge.methods import StudyData
from jaxbridge.run_folder import RunFolder
from jaxbridge.studies.jobs import Job
from jaxbridge.studies.results import write_results
from jaxbridge.studies.setup import Case, Setup
from jaxbridge.studies.variation import Study
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


def run_study(
    study: Study, setup: Setup, out: str | pathlib.Path, seeds: Sequence[int], *,
    prepared: str | pathlib.Path | None = None, command: str = "",
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
        command: that started it, for the record.

    Returns:
        The jobs that failed.

    Raises:
        InputError: the folder holds another study or other settings, or every job failed for bad
            input.
        Preempted: SIGTERM came; the same call goes on.
    """
    out = pathlib.Path(out)
    settings = {
        "study": study.name, "dataset": setup.dataset, "folds": setup.folds,
        **setup.settings.identity(), **setup.about,
    }
    RunFolder(out, json.loads(json.dumps(settings)), ())
    prepared = out / "data" if prepared is None else pathlib.Path(prepared)
    jobs = [Job(out, v, case) for case in setup.cases(seeds) for v in study.variations]
    todo = [job for job in jobs if not job.done()]
    _log.info("study %s: %d jobs, %d of them done before", study.name, len(jobs), len(jobs) - len(todo))
    errors: list[Exception] = []
    try:
        for i, (case, group) in enumerate(itertools.groupby(todo, key=lambda job: job.case)):
            if i:
                # Every fit compiled programs of its own, which would be kept.
                jax.clear_caches()
                gc.collect()
            errors += _run_case(case, list(group), setup, prepared)
            write_results(study, setup, seeds, jobs, command)
    except BaseException:
        write_results(study, setup, seeds, jobs, command)
        raise
    if not todo:
        write_results(study, setup, seeds, jobs, command)
    if errors and not any(job.done() for job in jobs) and isinstance(errors[0], InputError):
        raise errors[0]
    return [job for job in jobs if job.failure() is not None]


def _run_case(case: Case, jobs: Sequence[Job], setup: Setup, prepared: pathlib.Path) -> list[Exception]:
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
            errors += [e for job in of_change for e in _run_job(job, changed, setup)]
    return errors


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
