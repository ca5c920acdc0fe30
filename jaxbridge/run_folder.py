"""A run's folder: what was asked, and each finished stage's output.

    run.json     settings, seed, versions, hashes of the inputs
    <stage>/     the stage's files and done.json (seconds, peak memory; whether it went on with an
                 interrupted one, whose seconds are not in these); whole or absent
    .<stage>.partial/   what a stage that can go on had done when it was interrupted
"""

import contextlib
import csv
import errno
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import resource
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxbridge import hosts
from jaxbridge.settings_difference import differences
from jaxbridge.training.fitting import Epoch
from model_ports.errors import InputError

_PACKAGES = (
    "jaxbridge", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn",
)
# Of a disk that takes no more.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_log = logging.getLogger("jaxbridge")


class RunFolder:
    """Runs stages once, in a fixed order.

    Several processes run every stage together, in one folder that all of them see.

    Args:
        path: the folder; made if absent.
        settings: everything that decides the results, JSON-able. A folder of other settings is
            refused, so that nothing computed is lost.
        stages: names of all stages in order.
        rerun: stages to run again; all later ones follow.

    Raises:
        InputError: other settings, an unknown stage, or an unwritable folder.
    """

    def __init__(
        self, path: str | pathlib.Path, settings: Mapping[str, Any], stages: Collection[str],
        rerun: Collection[str] = (),
    ):
        self.path = pathlib.Path(path)
        self._stages = tuple(stages)
        if unknown := sorted(set(rerun) - set(stages)):
            raise InputError(
                f"there is no stage {', '.join(unknown)}; the stages are {', '.join(stages)}."
            )
        settings = json.loads(json.dumps(settings))
        hosts.same_everywhere(json.dumps(settings, sort_keys=True), "settings or inputs")
        hosts.from_first(lambda: self._open(settings, rerun))

    def _open(self, settings: Mapping[str, Any], rerun: Collection[str]) -> None:
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
        record = self.path / "run.json"
        if record.exists():
            self._compare(record, settings)
        elif any(there != _aside(record) for there in self.path.iterdir()):
            raise InputError(f"{self.path} holds something else; give another folder.")
        else:
            with self._writable():
                write_json(record, {"settings": settings, "versions": versions()})
        if rerun:
            first = min(self._stages.index(name) for name in rerun)
            with self._writable():
                self._remove(self._stages[first:])

    def _compare(self, record: pathlib.Path, settings: Mapping[str, Any]) -> None:
        try:
            before = json.loads(record.read_text(encoding="utf-8"))["settings"]
            changed = differences(before, settings)
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            raise InputError(f"{record} is damaged; give another folder.") from None
        if changed:
            raise InputError(
                f"{self.path} holds a run with other settings; give another folder:\n"
                + "\n".join(changed)
            )

    def stage(
        self, name: str, compute: Callable[[pathlib.Path], None], *, goes_on: bool = False
    ) -> pathlib.Path:
        """Returns the stage's folder, after `compute(folder)` has filled it if it was not done.

        Args:
            name: one of the stages.
            compute: fills the folder that it is given.
            goes_on: `compute` can go on in the folder that an earlier call of it left unfinished,
                so what an interrupted stage did is kept for it.

        Raises:
            InputError: `compute`'s, or what the system told of a file or of the network.
        """
        folder = self.path / name
        if hosts.from_first((folder / "done.json").exists):
            _log.info("%s: done before, kept", name)
            return folder
        _log.info("%s ...", name)
        start = time.monotonic()
        with self._told(name):
            aside = pathlib.Path(hosts.from_first(lambda: str(self._begun(name, goes_on))))
            try:
                compute(aside)
                hosts.barrier()
                seconds = hosts.from_first(lambda: self._end(aside, folder, start))
            finally:
                if not goes_on and hosts.first():
                    shutil.rmtree(aside, ignore_errors=True)
        _log.info(
            "%s: %.1f s, peak memory of the process so far %.2f GB",
            name, seconds, _peak_memory_bytes() / 1e9,
        )
        return folder

    def _begun(self, name: str, goes_on: bool) -> pathlib.Path:
        """Makes the folder to compute in."""
        # A stage that runs makes the later ones stale.
        this = self._stages.index(name)
        self._remove(self._stages[this + 1 :])
        shutil.rmtree(self.path / name, ignore_errors=True)
        self._resumed = False
        with self._writable():
            if not goes_on:
                return pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self.path))
            aside = self.path / f".{name}.partial"
            self._resumed = aside.exists()
            aside.mkdir(exist_ok=True)
            return aside

    def _end(self, aside: pathlib.Path, folder: pathlib.Path, start: float) -> float:
        seconds = time.monotonic() - start
        with self._writable():
            done = {
                "seconds": seconds, "peak_memory_bytes": _peak_memory_bytes(),
                "resumed": self._resumed,
            }
            write_json(aside / "done.json", done)
            aside.chmod(0o755)
            aside.rename(folder)
        return seconds

    def _remove(self, stages: Collection[str]) -> None:
        for name in stages:
            for folder in (name, f".{name}.partial"):
                shutil.rmtree(self.path / folder, ignore_errors=True)

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error

    @contextlib.contextmanager
    def _told(self, stage: str) -> Iterator[None]:
        """A stage reads files and may talk to a server too: not every OSError is of writing here."""
        try:
            yield
        except OSError as error:
            if isinstance(error, PermissionError):
                inside = self.path.absolute() in pathlib.Path(str(error.filename)).absolute().parents
            else:
                inside = error.errno in _FULL
            if inside:
                raise self._unwritable(error) from error
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self.path}: stage {stage} stopped: {reason}. With that mended, the same command "
                "goes on; earlier stages are kept."
            ) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written: {error.strerror or error}. "
            "Give a folder that you may write to, with space left."
        )


def _peak_memory_bytes() -> int:
    # KiB on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON atomically; of several processes the first one does."""
    if not hosts.first():
        return
    aside = _aside(path)
    aside.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(aside, path)


def _aside(path: pathlib.Path) -> pathlib.Path:
    """Where a file is written first; a full disk or a kill leaves that behind."""
    return path.with_name(f".{path.name}.partial")


def read_json(path: pathlib.Path) -> Any:
    """Reads what `write_json` wrote; `InputError` where the file is damaged or missing."""
    with _undamaged(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a .npz file; `InputError` where it is damaged or missing."""
    with _undamaged(path), np.load(path) as arrays:
        return dict(arrays)


def existing(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a file that a finished stage wrote; `InputError` where it is missing."""
    with _undamaged(path):
        path.stat()
    return path


@contextlib.contextmanager
def _undamaged(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (
        FileNotFoundError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error
    ) as error:
        state = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise InputError(
            f"{path} is {state}; run the stage that writes it again (--rerun, or remove the stage's "
            "folder), or give another folder."
        ) from None


def write_rows(
    path: pathlib.Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Writes rows with the same keys as CSV; of several processes the first one does.

    Args:
        path: the file.
        rows: at least one, unless `names` are given.
        names: the keys; those of the first row if left out.
    """
    if not hosts.first():
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(names or rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_curve(path: pathlib.Path, curve: Sequence[Epoch]) -> None:
    """Writes a training curve as CSV; of a bridge in closed form only the header."""
    write_rows(path, [epoch._asdict() for epoch in curve], Epoch._fields)


def read_curve(path: pathlib.Path) -> list[Epoch]:
    """Reads what `write_curve` wrote; `InputError` where the file is damaged or missing."""
    with _undamaged(path), path.open(newline="", encoding="utf-8") as file:
        return [
            Epoch(int(row["epoch"]), float(row["train_loss"]), float(row["val_loss"]))
            for row in csv.DictReader(file)
        ]


def versions() -> dict[str, str]:
    """Returns the versions of Python, the platform and our packages, and the devices."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    devices = jax.devices()
    return {**versions, "devices": f"{len(devices)} x {devices[0].device_kind}"}
