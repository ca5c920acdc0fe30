"""Writing a feature store: blocks of windows, durable before they are counted as done.

    metadata.json       the key and the arrays' shapes; written with the folder
    progress.json       how many windows are done: never more than are on disk
    window/             (windows,) int64, which window each row is
    <input|output>_<i>/, final/     (windows, ...) float32, one zarr array each

A chunk is a block of windows of one array. A missing chunk reads as NaN, which features never are.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from jaxbridge.features.layout import FeatureLayout
from model_ports.errors import InputError


def create(
    path: Path, metadata: Mapping[str, Any], layout: FeatureLayout, indices: np.ndarray, block: int
) -> None:
    """Makes a store without features, whole or not at all.

    Args:
        path: the folder, which must not exist.
        metadata: content of metadata.json.
        layout: the arrays.
        indices: (windows,) which windows the rows are.
        block: windows per chunk.

    Raises:
        InputError: the folder cannot be written.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name, shape in layout.shapes.items():
                _create(aside / name, (len(indices), *shape), block, "<f4")
            window = _create(aside / "window", indices.shape, len(indices), "<i8")
            window.write(indices).result()
            _write_json(aside / "metadata.json", metadata)
            aside.chmod(0o755)
            try:
                aside.rename(path)
            except OSError:
                if not path.exists():  # else another process made the same store meanwhile
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def windows_done(path: Path) -> int:
    """Returns how many of a store's windows have features."""
    try:
        return int(json.loads((path / "progress.json").read_text())["windows_done"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path / 'progress.json'} is damaged: which windows are done is not known. Remove {path} "
            "and compute it again."
        ) from None


class FeatureWriter:
    """Writes rows into a store that `create` made, after those that are done.

    At most two blocks are in memory: one is filled while the one before is written. As a context
    manager it writes on leaving what it has been given, also when an exception is on its way.

    Args:
        path: the store.
        layout: its arrays.
        block: windows per chunk.

    Raises:
        InputError: (by any method) the store cannot be written.
    """

    def __init__(self, path: Path, layout: FeatureLayout, block: int):
        self._path, self._block = path, block
        self._columns, self._shapes = layout.columns(), layout.shapes
        with writable(path):
            self._arrays = {name: open_array(path / name, write=True) for name in layout.shapes}
        self._start = self._filled = windows_done(path)
        self._buffer = np.empty((block, layout.row_width), np.float32)
        self._pending: list[Any] = []

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None:
            self._flush()
            self._settle()
            return
        with contextlib.suppress(InputError):  # the first error is the one to tell
            self._flush()
            self._settle()

    def append(self, rows: np.ndarray) -> None:
        """Takes the next (k, row_width) rows, and writes when a block is full."""
        while len(rows):
            stop = (self._start // self._block + 1) * self._block
            taken = rows[: stop - self._filled]
            at = self._filled - self._start
            self._buffer[at : at + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == stop:
                self._flush()
        if self._pending and all(future.done() for future in self._pending):
            self._settle()

    def _flush(self) -> None:
        """Starts writing what the buffer holds."""
        self._settle()
        count = self._filled - self._start
        if not count:
            return
        with writable(self._path):
            for name, array in self._arrays.items():
                values = self._buffer[:count, self._columns[name]]
                future = array[self._start : self._filled].write(
                    values.reshape(count, *self._shapes[name])
                )
                future.commit.force()
                self._pending.append(future.commit)
        self._start = self._filled
        self._buffer = np.empty_like(self._buffer)

    def _settle(self) -> None:
        """Waits until what is being written is on disk, and records that."""
        if not self._pending:
            return
        with writable(self._path):
            for future in self._pending:
                future.result()
            self._pending = []
            _write_json(self._path / "progress.json", {"windows_done": self._start})


def open_array(folder: Path, *, write: bool = False):
    """Opens one zarr array."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return ts.open(spec, read=True, write=write).result()


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turns failed writes into one clear `InputError`."""
    try:
        yield
    except (OSError, ValueError) as error:  # TensorStore tells a full disk as ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be written: {reason}. Give a folder that you may write to, with space "
            "left."
        ) from error


def _create(folder: Path, shape: Sequence[int], block: int, dtype: str):
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {
            "shape": list(shape),
            "chunks": [block, *shape[1:]],
            "dtype": dtype,
            "fill_value": "NaN" if dtype == "<f4" else None,
            # Mantissas do not compress.
            "compressor": None,
        },
    }
    return ts.open(spec, create=True).result()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically and durably."""
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
