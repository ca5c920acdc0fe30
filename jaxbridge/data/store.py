"""The window store: a folder with all windows of a data set and what they are.

    metadata.json   what the windows are, where they come from, and every file's size
    <modality>/     (windows, ...) float32, one zarr array per modality
    label/          (windows,) int32, index into metadata["class_names"]
    split/, subject/, recording/   (windows,) int32, indices into the name lists in the metadata
    start_s/        (windows,) float64, start in seconds from the start of the recording, or NaN

A store is written beside its place and renamed once it is complete, so a folder of the final name is
whole or absent. Zarr reads a missing file as zeros, so the sizes in the metadata are checked on
opening.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorstore as ts

from jaxbridge.data.lazy_windows import LazyWindows
from jaxbridge.data.splits import check_classes
from model_ports.errors import InputError

_FORMAT = "jaxbridge window store"
# Raised whenever the same inputs would give other windows or another layout.
_VERSION = 3
_CHUNK_BYTES = 2**20
_INDEX_ARRAYS = ("label", "split", "subject", "recording")
_START = "start_s"
_RESERVED = (*_INDEX_ARRAYS, _START)
_LABELLED_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Windows of one recording (or part of one).

    Attributes:
        arrays: modality -> (windows, ...) with equally many windows, perhaps none; arrays, or what
            gives some of them at a time.
        labels: (windows,) class indices.
        subject, recording: names.
        split: name; None where a split rule is applied afterwards (`preparation.prepare`).
        start_s: (windows,) float64, start of each window in seconds from the start of its recording;
            None where unknown.
        notes: JSON-able, what reading the recording did to it (gaps, dropped windows).
    """

    arrays: Mapping[str, np.ndarray | LazyWindows]
    labels: np.ndarray
    subject: str
    recording: str
    split: str | None = None
    start_s: np.ndarray | None = None
    notes: Mapping | None = None


def inputs_hash(metadata: Mapping) -> str:
    """SHA-256 of a store's description, the same on any machine.

    It covers the description and not the samples: filters differ in the last bit between machines.
    With the digests of the source files in it, the description decides the samples.
    """
    text = json.dumps(
        {"format": _FORMAT, "version": _VERSION, "metadata": metadata},
        sort_keys=True,
        allow_nan=False,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()


def write_store(
    path: str | Path,
    batches: Iterable[WindowBatch],
    metadata: Mapping,
    *,
    split_report: Mapping | None = None,
    scratch: Path | None = None,
) -> "WindowStore":
    """Writes a store, one batch in memory at a time, and opens it.

    Args:
        path: folder to make; its parent is made too.
        batches: windows, in the order in which they shall be stored.
        metadata: JSON-able description that decides the windows. Needed: "class_names" (list) and
            "sources" (file name -> SHA-256; empty for simulated windows, whose samples and labels
            then enter the hash). The rest is the caller's: data set, modalities with sampling rates,
            units, leads and preprocessing, window_s, step_s, split rule and seed.
        split_report: JSON-able, what became of the split rule; kept beside the description, as it is
            once `batches` has ended.
        scratch: folder in which the unfinished store is made, on the file system of `path`; its
            parent if None.

    Returns:
        The opened store.

    Raises:
        InputError: the folder holds something or cannot be written; windows that are not finite, differ
            in shape or number, or lack a label; a class absent from train, val or test (of those
            that occur); no windows.
    """
    path = Path(path)
    metadata = json.loads(json.dumps(metadata, allow_nan=False))
    check_free(path)
    with unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=scratch or path.parent)
        partial = Path(partial)
    try:
        _fill(partial, path, batches, metadata, split_report)
        with unwritable(path):
            # mkdtemp makes a private folder; a store has the rights of any new folder.
            umask = os.umask(0)
            os.umask(umask)
            partial.chmod(0o777 & ~umask)
            partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return WindowStore.open(path)


def ensure_store(
    path: str | Path, metadata: Mapping, batches: Callable[[], Iterable[WindowBatch]]
) -> tuple["WindowStore", bool]:
    """Opens the finished store of these inputs, or writes it.

    Args:
        path: folder of the store.
        metadata: as for `write_store`.
        batches: called only when windows are needed.

    Returns:
        The store, and whether it was written now.

    Raises:
        InputError: the folder holds a store of other inputs, or something else; see `write_store`.
    """
    path = Path(path)
    if not (path / "metadata.json").exists():
        return write_store(path, batches(), metadata), True
    return open_same(path, metadata), False


def open_same(path: str | Path, metadata: Mapping) -> "WindowStore":
    """Opens the finished store of these inputs.

    Raises:
        InputError: it is a store of other inputs; see `WindowStore.open`.
    """
    store = WindowStore.open(path)
    if store.inputs_hash == inputs_hash(metadata):
        return store
    old, new = store.metadata, json.loads(json.dumps(metadata))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    raise InputError(
        f"{path} holds a window store of other inputs (different: {', '.join(changed)}). "
        "Give another folder, or remove that one."
    )


def check_free(path: Path) -> None:
    """Raises `InputError` where a store's folder holds something."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists already. Give another folder or remove it.")


@contextlib.contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Turns failed writes to `path` into `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}. Give a folder that you may write "
            "to, with space left."
        ) from error


def _fill(
    folder: Path, path: Path, batches: Iterable[WindowBatch], metadata: Mapping,
    split_report: Mapping | None,
) -> None:
    """Writes the whole store into `folder`; messages call it `path`."""
    with ThreadPoolExecutor(1) as thread:
        _fill_with(thread, folder, path, batches, metadata, split_report)


def _fill_with(
    thread: ThreadPoolExecutor, folder: Path, path: Path, batches: Iterable[WindowBatch],
    metadata: Mapping, split_report: Mapping | None,
) -> None:
    class_names = metadata["class_names"]
    writers: dict[str, _Writer] = {}
    labels: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    names: dict[str, list[str]] = {"split": [], "subject": [], "recording": []}
    for batch in batches:
        count = len(batch.labels)
        if not count:
            continue
        check_batch(batch, class_names, {name: writer.shape for name, writer in writers.items()})
        if batch.split is None:
            raise InputError(f"{batch.recording} has no split. Give one, or a split rule to prepare.")
        with unwritable(path):
            for modality, windows in batch.arrays.items():
                if modality not in writers:
                    writers[modality] = _Writer(folder / modality, windows.shape[1:], thread)
                writers[modality].append(windows, batch.recording)
        labels.append(np.asarray(batch.labels, np.int32))
        starts.append(np.full(count, np.nan) if batch.start_s is None else batch.start_s)
        for key in names:
            names[key] += [getattr(batch, key)] * count
    label = np.concatenate(labels) if labels else np.empty(0, np.int32)
    if not label.size:
        raise InputError("No windows: there is nothing to store. Check recordings and window_s.")
    split = np.array(names["split"])
    used = [wanted for wanted in _LABELLED_SPLITS if wanted in names["split"]]
    check_classes(label, split, class_names, used)

    with unwritable(path):
        content = {modality: writer.close() for modality, writer in writers.items()}
        content["label"] = hashlib.sha256(label.astype("<i4")).hexdigest()
        _write_vector(folder / "label", label, "<i4")
        start_s = np.concatenate(starts).astype("<f8")
        content[_START] = hashlib.sha256(start_s).hexdigest()
        _write_vector(folder / _START, start_s, "<f8")
        listed = {key: sorted(set(values)) for key, values in names.items()}
        for key, values in names.items():
            content[key] = hashlib.sha256(json.dumps(values).encode()).hexdigest()
            position = {name: i for i, name in enumerate(listed[key])}
            codes = np.array([position[value] for value in values], np.int32)
            _write_vector(folder / key, codes, "<i4")
        description = metadata if metadata["sources"] else {**metadata, "content": content}
        record = {
            "format": _FORMAT,
            "version": _VERSION,
            "hash": inputs_hash(description),
            "inputs_hash": inputs_hash(metadata),
            "num_windows": int(label.size),
            "shapes": {modality: list(writer.shape) for modality, writer in writers.items()},
            "names": listed,
            "content_sha256": content,
            "files": _sizes(folder),
            "metadata": metadata,
            "split_report": dict(split_report or {}),
        }
        with (folder / "metadata.json").open("w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())


def check_batch(
    batch: WindowBatch, class_names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuses windows that a store cannot take; their samples are `finite`'s to check.

    Args:
        batch: one window at least.
        class_names: of the store.
        shapes: modality -> shape of a window of earlier batches; empty before the first.

    Raises:
        InputError: other modalities or shapes than before; not one label and start per window; a
            label that is no class.
    """
    name = batch.recording
    count = len(batch.labels)
    if shapes and set(batch.arrays) != set(shapes):
        raise InputError(
            f"{name} has modalities {sorted(batch.arrays)}, earlier recordings {sorted(shapes)}. "
            "Every recording needs all of them."
        )
    if batch.start_s is not None and np.shape(batch.start_s) != (count,):
        raise InputError(
            f"{name}: start times of shape {np.shape(batch.start_s)} and {count} labels. "
            "Give one start per window."
        )
    for modality, windows in batch.arrays.items():
        if modality in _RESERVED or Path(modality).name != modality or modality[:1] == ".":
            raise InputError(f"A modality cannot be called {modality!r}. Choose a plain name.")
        if len(windows) != count:
            raise InputError(
                f"{name}: {len(windows)} windows of {modality} and {count} labels. "
                "Give one label per window."
            )
        if modality in shapes and windows.shape[1:] != shapes[modality]:
            raise InputError(
                f"{name}: windows of {modality} have shape {windows.shape[1:]}, earlier ones "
                f"{shapes[modality]}. Use the same leads and window_s throughout."
            )
    labels = np.asarray(batch.labels)
    if count and not (0 <= labels.min() and labels.max() < len(class_names)):
        raise InputError(
            f"{name}: labels {labels.min()} to {labels.max()}, but there are {len(class_names)} "
            "classes. Number the classes from 0 and name each."
        )


def finite(windows: np.ndarray, start: int, modality: str, recording: str) -> np.ndarray:
    """Returns the windows.

    Args:
        windows: (windows, ...).
        start: index of the first one in its recording's.
        modality, recording: names, for the message.

    Raises:
        InputError: a sample that is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(windows.sum()):  # quicker than looking at each
            return windows
    bad = np.flatnonzero(~np.isfinite(windows.reshape(len(windows), -1)).all(axis=1))
    if bad.size:
        raise InputError(
            f"{recording}: window {start + bad[0]} of {modality} has NaN or infinite samples. "
            "Leave the recording out or repair it."
        )
    return windows


class _Writer:
    """Appends windows to one zarr array, two chunks in memory at a time.

    The chunks, which are not compressed, are written as the files that zarr has for them, by another
    thread, while they are digested and the next one is filled.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], thread: ThreadPoolExecutor):
        self.shape = tuple(shape)
        self._folder = folder
        window_bytes = 4 * int(np.prod(shape, dtype=np.int64))
        length = max(1, _CHUNK_BYTES // max(window_bytes, 1))
        self._chunk, self._other = (np.zeros((length, *shape), "<f4") for _ in range(2))
        self._thread = thread
        self._writing: Future | None = None
        self._waiting = self._written = 0
        self._digest = hashlib.sha256()
        folder.mkdir()

    def append(self, windows: np.ndarray | LazyWindows, recording: str) -> None:
        at_a_time = max(getattr(windows, "at_a_time", 1), len(self._chunk))
        for start in range(0, len(windows), at_a_time):
            some = windows[start : start + at_a_time]
            at = 0
            while at < len(some):
                taken = min(len(self._chunk) - self._waiting, len(some) - at)
                new = self._chunk[self._waiting : self._waiting + taken]
                new[:] = some[at : at + taken]
                finite(new, start + at, self._folder.name, recording)
                at, self._waiting = at + taken, self._waiting + taken
                if self._waiting == len(self._chunk):
                    self._flush()

    def close(self) -> str:
        """Writes the rest; returns the SHA-256 of all windows as little-endian float32."""
        length = len(self._chunk)
        count = self._written * length + self._waiting
        if self._waiting:
            self._chunk[self._waiting :] = 0
            self._flush()
        self._wait()
        _create(self._folder, (count, *self.shape), (length, *self.shape), "<f4")
        return self._digest.hexdigest()

    def _flush(self) -> None:
        self._wait()
        name = ".".join([str(self._written), *["0"] * len(self.shape)])
        self._writing = self._thread.submit(_write_file, self._folder / name, self._chunk)
        self._digest.update(self._chunk[: self._waiting])
        self._chunk, self._other = self._other, self._chunk
        self._written, self._waiting = self._written + 1, 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()


def _write_file(path: Path, content: np.ndarray) -> None:
    with path.open("wb") as file:
        file.write(content)


def _create(folder: Path, shape: Sequence[int], chunks: Sequence[int], dtype: str):
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        # Recorded noise hardly shrinks: uncompressed, windows are read and written twice as fast.
        "metadata": {
            "shape": list(shape), "chunks": list(chunks), "dtype": dtype, "compressor": None,
        },
        # A chunk of zeros is written too: a missing file always means damage.
        "store_data_equal_to_fill_value": True,
        # Not flushed to the disk file by file: what a power cut leaves unwritten has the wrong size.
        "context": {"file_io_sync": False},
    }
    try:
        return ts.open(spec, create=True).result()
    except ValueError as error:
        raise OSError(str(error)) from error


def _wait(written: ts.Future) -> None:
    try:
        written.result()
    except ValueError as error:  # TensorStore's form of a failed write, such as a full disk
        raise OSError(str(error)) from error


def _write_vector(folder: Path, values: np.ndarray, dtype: str) -> None:
    chunk = max(1, min(len(values), _CHUNK_BYTES // 4))
    _wait(_create(folder, values.shape, (chunk,), dtype).write(values))


def _sizes(folder: Path) -> dict[str, int]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


class WindowStore:
    """A window store opened for reading. Open one with `WindowStore.open`."""

    def __init__(self, path: Path, record: dict):
        self.path = path
        self._record = record
        self._arrays = {name: _open_array(path / name) for name in record["shapes"]}
        indices = {name: _open_array(path / name).read().result() for name in _INDEX_ARRAYS}
        names = record["names"]
        self.labels: np.ndarray = indices["label"]
        """(windows,) int32, indices into `class_names`."""
        self.splits: np.ndarray = np.array(names["split"])[indices["split"]]
        """(windows,) split names."""
        self.subjects: np.ndarray = np.array(names["subject"])[indices["subject"]]
        """(windows,) subject names."""
        self.recordings: np.ndarray = np.array(names["recording"])[indices["recording"]]
        """(windows,) recording names."""
        self.start_s: np.ndarray = _open_array(path / _START).read().result()
        """(windows,) seconds from the start of the recording; NaN where unknown."""
        for values in (self.labels, self.splits, self.subjects, self.recordings, self.start_s):
            values.setflags(write=False)

    @classmethod
    def open(cls, path: str | Path) -> "WindowStore":
        """Opens a store and checks that all of it is there (names and sizes of its files).

        Raises:
            InputError: no such folder; no window store, or one of another version; incomplete.
        """
        path = Path(path)
        remedy = "Prepare it again."
        if not path.is_dir():
            raise InputError(f"There is no window store at {path}. Prepare one, or check the path.")
        try:
            record = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{path} is no window store: metadata.json cannot be read ({error.strerror}). "
                "Check the path."
            ) from error
        except ValueError as error:
            raise InputError(f"{path}: metadata.json is damaged. {remedy}") from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise InputError(f"{path} is no window store of jaxbridge. Check the path.")
        if record.get("version") != _VERSION:
            raise InputError(
                f"{path} is a window store of version {record.get('version')}, this jaxbridge reads "
                f"version {_VERSION}. {remedy}"
            )
        try:
            for name, size in record["files"].items():
                file = path / name
                if not file.is_file():
                    raise InputError(f"{path} is incomplete: {name} is missing. {remedy}")
                if file.stat().st_size != size:
                    raise InputError(f"{path} is damaged: {name} has the wrong size. {remedy}")
            return cls(path, record)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is damaged: {error}. {remedy}") from error

    @property
    def metadata(self) -> dict:
        """The description given when it was written (a fresh copy)."""
        return json.loads(json.dumps(self._record["metadata"]))

    @property
    def split_report(self) -> dict:
        """What became of the split rule, see `preparation.prepare`; empty where none was used."""
        return json.loads(json.dumps(self._record["split_report"]))

    @property
    def hash(self) -> str:
        """SHA-256 of what decides the windows: the same inputs give the same on any machine."""
        return self._record["hash"]

    @property
    def sources(self) -> dict[str, str]:
        """Source file name -> SHA-256; empty for simulated windows."""
        return dict(self._record["metadata"]["sources"])

    @property
    def inputs_hash(self) -> str:
        """`inputs_hash(metadata)`, known before anything is computed."""
        return self._record["inputs_hash"]

    @property
    def content_sha256(self) -> dict[str, str]:
        """SHA-256 per modality (windows as little-endian float32) and of labels and names."""
        return dict(self._record["content_sha256"])

    @property
    def num_windows(self) -> int:
        return self._record["num_windows"]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._record["metadata"]["class_names"])

    def shape(self, modality: str) -> tuple[int, ...]:
        """Shape of one window of a modality.

        Raises:
            InputError: unknown modality.
        """
        return tuple(self._array(modality).shape[1:])

    def indices(self, split: str) -> np.ndarray:
        """Ascending indices of a split's windows.

        Raises:
            InputError: no window has that split.
        """
        found = np.flatnonzero(self.splits == split)
        if not found.size:
            raise InputError(
                f"{self.path} has no split {split!r}. It has: "
                f"{', '.join(self._record['names']['split'])}."
            )
        return found

    def read(self, modality: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Windows of a modality, in the order asked for; indices may repeat.

        Args:
            modality: name.
            indices: (n,) from 0 to num_windows - 1.

        Returns:
            (n, ...) float32.

        Raises:
            InputError: unknown modality.
            IndexError: an index out of range.
        """
        array = self._array(modality)
        indices = np.asarray(indices, np.int64).reshape(-1)
        if indices.size == 0:
            return np.empty((0, *self.shape(modality)), np.float32)
        if indices.min() < 0 or indices.max() >= self.num_windows:
            raise IndexError(f"window indices must be 0 to {self.num_windows - 1}")
        wanted, back = np.unique(indices, return_inverse=True)
        if wanted[-1] - wanted[0] + 1 == wanted.size:  # neighbours: a slice is read faster
            windows = array[int(wanted[0]) : int(wanted[-1]) + 1].read().result()
        else:
            windows = array[wanted].read().result()
        return windows if np.array_equal(wanted, indices) else windows[back]

    def _array(self, modality: str):
        if modality not in self._arrays:
            raise InputError(
                f"{self.path} has no modality {modality!r}. It has: {', '.join(self._arrays)}."
            )
        return self._arrays[modality]


def _open_array(folder: Path):
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return ts.open(spec, read=True, write=False).result()
