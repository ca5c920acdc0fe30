"""A job: one variation on one case, and the files that it leaves."""

import contextlib
import json
import logging
import pathlib
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxbridge.methods import Cost, Fitted, StudyData
from jaxbridge.run_folder import read_json, write_curve, write_json
from jaxbridge.settings_difference import differences
from jaxbridge.statistics.predictions import Predictions
from jaxbridge.studies.setup import Case, Setup
from jaxbridge.studies.variation import Variation
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


class Result(NamedTuple):
    """What a job found.

    Attributes:
        predictions: of the test windows.
        cost: of fit and prediction.
        seconds, cpu_seconds: the job took, in this run of it; shared data left out.
    """

    predictions: Predictions
    cost: Cost
    seconds: float
    cpu_seconds: float


class Job(NamedTuple):
    """A variation on a case, within a study's folder."""

    study_folder: pathlib.Path
    variation: Variation
    case: Case

    @property
    def folder(self) -> pathlib.Path:
        return self.study_folder / "jobs" / self.variation.slug / self.case.folder

    @property
    def _unfinished(self) -> pathlib.Path:
        return self.folder.with_name(f".{self.folder.name}.partial")

    def done(self) -> bool:
        """Returns whether it has run.

        Raises:
            InputError: it has, with other settings, or its files are damaged.
        """
        # Whole or absent: without its record it could not be put there again once it has run.
        if not self.folder.exists():
            return False
        wanted = json.loads(json.dumps(self.variation.identity()))
        with self._whole():
            changed = differences(read_json(self.folder / "details.json")["variation"], wanted)
        if changed:
            raise InputError(
                f"{self.folder} was run with other settings; give another folder, or remove it:\n"
                + "\n".join(changed)
            )
        return True

    def run(self, data: StudyData, setup: Setup) -> None:
        """Fits, predicts the test windows and writes the files; a killed or failed job goes on.

        Args:
            data: of the case, changed as the variation says.
            setup: for the names of people.
        """
        started, folder = (time.monotonic(), time.process_time()), self._unfinished
        resumed = (folder / "training").exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fitted = self.variation.method.fit(data, self.case.seed, folder=folder)
            if resumed:  # its clock began anew
                fitted.wall_s = max(fitted.wall_s, fitted.epoch_s * len(fitted.curve))
            spent = time.monotonic() - started[0], time.process_time() - started[1]
            self.finish(fitted, data, setup, spent, resumed=resumed)
        except Exception:
            # A full disk is a failure too, and costs no checkpoint.
            if not any((folder / "training").glob("[0-9]*")):
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def finish(
        self, fitted: Fitted, data: StudyData, setup: Setup, spent: tuple[float, float], *,
        resumed: bool = False,
    ) -> None:
        """Predicts the test windows with what was fitted, and writes the files.

        Args:
            fitted: by the variation's method.
            data, setup: see `run`.
            spent: seconds and CPU seconds of the fit.
            resumed: the fit went on after a kill.
        """
        started, folder = (time.monotonic(), time.process_time()), self._unfinished
        folder.mkdir(parents=True, exist_ok=True)
        test = data.windows.indices("test")
        subjects = data.windows.subjects
        subjects = np.full(len(data.windows.labels), "unknown") if subjects is None else subjects
        Predictions(
            fitted.logits(data, test), data.labels(test),
            np.array([setup.person(self.case, str(name)) for name in subjects[test]]),
            *self.case,
        ).save(folder / "predictions.npz")
        write_json(folder / "cost.json", fitted.cost(data).as_dict())
        if fitted.curve:
            write_curve(folder / "curve.csv", fitted.curve)
        write_json(folder / "details.json", {
            **fitted.details, "variation": self.variation.identity(),
            "pairs": len(data.pair), "resumed": resumed,
            "seconds": spent[0] + time.monotonic() - started[0],
            "cpu_seconds": spent[1] + time.process_time() - started[1],
        })
        self.failure_file.unlink(missing_ok=True)
        folder.rename(self.folder)

    @property
    def failure_file(self) -> pathlib.Path:
        return self.folder.with_name(f"{self.folder.name}.failed.json")

    def failed(self, error: Exception) -> None:
        """Writes down why it failed; it is tried again when the study is started again.

        What a killed training of it left stays: the failure may be of its data, not of itself.
        """
        _log.error(
            "%s, %s: failed: %s", self.variation.name, self.case.folder, error,
            exc_info=None if isinstance(error, InputError) else error,
        )
        self.failure_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.failure_file, {"error": f"{type(error).__name__}: {error}"})

    def failure(self) -> dict[str, Any] | None:
        """Returns what `failed` wrote, with whose failure it is; None if it did not fail."""
        if not self.failure_file.exists():
            return None
        return {
            "variation": self.variation.name, **self.case._asdict(), **read_json(self.failure_file),
        }

    def result(self) -> Result:
        """Returns what a job that is done has found.

        Raises:
            InputError: its files are damaged.
        """
        with self._whole():
            details = read_json(self.folder / "details.json")
            return Result(
                Predictions.load(self.folder / "predictions.npz"),
                Cost(**read_json(self.folder / "cost.json")),
                details["seconds"], details["cpu_seconds"],
            )

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (
            InputError, OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile,
            zlib.error,
        ):
            raise InputError(
                f"{self.folder} has a damaged file; remove that folder, and the same command runs this "
                "job again."
            ) from None
