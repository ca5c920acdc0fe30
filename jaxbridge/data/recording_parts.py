"""Windows of single recordings on disk, from which a store is put together.

A part is a folder named after everything that decides it, with one .npy file per modality, and a
second one where windows are cut from a signal: which is kept uncut, however much they overlap. Windows
that lie in the source files (see `dataset.SourceDataset`) are not in it. It is renamed into place once
it is complete, so a part is whole or absent whenever the process is killed.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxbridge.data.dataset import Dataset
from jaxbridge.data.lazy_windows import CutWindows, LazyWindows
from jaxbridge.data.store import WindowBatch, check_batch, finite, unwritable
from model_ports.errors import InputError

# Raised whenever the same inputs would give other windows or another layout.
_VERSION = 5
_BLOCK_BYTES = 2**24
_HEAD = "part.json"


def part_name(metadata: Mapping, recording: str, sources: Mapping[str, str]) -> str:
    """Name of a recording's part.

    Args:
        metadata: of the data set; its "sources" are left out of account.
        recording: name.
        sources: file -> SHA-256 of the files that the recording is read from.
    """
    decisive = {key: value for key, value in metadata.items() if key != "sources"}
    text = json.dumps([_VERSION, decisive, recording, dict(sources)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class PartWriter:
    """Picklable `work` of `WorkerPool.run`: prepares a recording and writes its part.

    Attributes:
        dataset: whose recordings.
        class_names: of the data set.
        folder: of the parts.
        names: recording -> name of its part.
    """

    dataset: Dataset
    class_names: tuple[str, ...]
    folder: Path
    names: Mapping[str, str]

    def __call__(self, recording: str) -> None:
        """Raises `InputError` for a recording that cannot be prepared; then there is no part."""
        batch = self.dataset.windows(recording)
        subject = self.dataset.recordings[recording]
        if (batch.recording, batch.subject) != (recording, subject):
            raise ValueError(
                f"windows({recording!r}) returned recording {batch.recording!r} of subject "
                f"{batch.subject!r}, not of {subject!r}"
            )
        if len(batch.labels):
            check_batch(batch, self.class_names, {})
        with unwritable(self.folder):
            _write(self.folder / self.names[recording], batch, in_source(self.dataset, recording))

    def part(self, recording: str) -> "Part | None":
        """The finished part of a recording; None where there is none, or not all of it."""
        return Part.open(self.folder / self.names[recording], self.dataset, recording)


def in_source(dataset: Dataset, recording: str) -> Mapping[str, LazyWindows]:
    """Windows that need no part, by modality."""
    return dataset.source_windows(recording) if hasattr(dataset, "source_windows") else {}


def _write(path: Path, batch: WindowBatch, left_out: Collection[str]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    try:
        count = len(batch.labels)
        start_s = np.full(count, np.nan) if batch.start_s is None else batch.start_s
        np.save(partial / "label.npy", np.asarray(batch.labels, "<i4"))
        np.save(partial / "start_s.npy", np.asarray(start_s, "<f8"))
        for name, windows in batch.arrays.items() if count else ():
            if name in left_out:
                continue
            if isinstance(windows, CutWindows):
                if not np.isfinite(windows.signal).all():
                    for _ in _blocks(windows, name, batch.recording):
                        pass  # it may be between the windows
                np.save(partial / f"{name}.npy", windows.signal)
                with (partial / f"{name}.starts").open("wb") as file:
                    np.save(file, windows.starts)
            else:
                _save(partial / f"{name}.npy", windows, name, batch.recording)
        head = {
            "modalities": {name: windows.shape[1:] for name, windows in batch.arrays.items() if count},
            "notes": dict(batch.notes or {}),
            "sizes": {file.name: file.stat().st_size for file in partial.iterdir()},
        }
        (partial / _HEAD).write_text(json.dumps(head))
        with contextlib.suppress(FileExistsError):
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _save(path: Path, windows: np.ndarray | LazyWindows, modality: str, recording: str) -> None:
    """As `np.save`, some MB at a time."""
    with path.open("wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": windows.shape}
        np.lib.format.write_array_header_1_0(file, head)
        for some in _blocks(windows, modality, recording):
            file.write(some)


def _blocks(
    windows: np.ndarray | LazyWindows, modality: str, recording: str
) -> Iterator[np.ndarray]:
    """Yields windows, some MB at a time, all finite."""
    length = max(1, _BLOCK_BYTES // max(4 * math.prod(windows.shape[1:]), 1))
    for start in range(0, len(windows), length):
        some = np.ascontiguousarray(windows[start : start + length], "<f4")
        yield finite(some, start, modality, recording)


class Part:
    """A finished part, opened for reading.

    Attributes:
        labels: (windows,) int32.
        start_s: (windows,) float64, NaN where unknown.
        notes: of the batch, see `WindowBatch`.
    """

    def __init__(self, path: Path, head: Mapping, dataset: Dataset, recording: str):
        self._path, self._shapes, self.notes = path, head["modalities"], head["notes"]
        self._dataset, self._recording = dataset, recording
        self.labels: np.ndarray = np.load(path / "label.npy")
        self.start_s: np.ndarray = np.load(path / "start_s.npy")

    @classmethod
    def open(cls, path: Path, dataset: Dataset, recording: str) -> "Part | None":
        """Returns None where there is no such part, or not all of it."""
        try:
            head = json.loads((path / _HEAD).read_text())
            whole = all((path / f).stat().st_size == size for f, size in head["sizes"].items())
            return cls(path, head, dataset, recording) if whole else None
        except (OSError, ValueError, KeyError):
            return None

    def arrays(self, indices: np.ndarray) -> dict[str, LazyWindows]:
        """Some windows by modality, read when they are asked for."""
        if not self._shapes:
            return {}
        source = in_source(self._dataset, self._recording)
        return {name: self._some(name, source.get(name), indices) for name in self._shapes}

    def _some(self, name: str, source: LazyWindows | None, indices: np.ndarray) -> LazyWindows:
        if source is not None:
            return _SomeWindows(source, indices, source.at_a_time)
        stored = np.load(self._path / f"{name}.npy", mmap_mode="r")
        if (starts := self._path / f"{name}.starts").exists():
            return CutWindows(stored, np.load(starts)[indices], tuple(self._shapes[name]))
        return _SomeWindows(stored, indices)


@dataclasses.dataclass(frozen=True, eq=False)
class _SomeWindows(LazyWindows):
    all: np.ndarray | LazyWindows
    indices: np.ndarray
    at_a_time: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.all.shape[1:])

    def take(self, indices: np.ndarray) -> np.ndarray:
        chosen = self.indices[indices]
        if len(chosen) and np.array_equal(chosen, np.arange(chosen[0], chosen[0] + len(chosen))):
            return self.all[chosen[0] : chosen[0] + len(chosen)]  # not copied
        return self.all[chosen]


@contextlib.contextmanager
def parts_folder(path: Path) -> Iterator[Path]:
    """The folder of parts beside a store, for one process at a time; kept while it holds parts.

    Raises:
        InputError: another process has it, or it cannot be written.
    """
    import fcntl  # POSIX only

    folder = path.parent / f".{path.name}.parts"
    with unwritable(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{path} is being prepared by another process. Wait for it, or give another folder."
            ) from error
        for partial in (*folder.glob("*.partial-*"), *folder.glob("*.????????")):
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        try:
            yield folder
        finally:
            if folder.exists() and not any(file.is_dir() for file in folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
