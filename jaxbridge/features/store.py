"""Pooled features of all layers of an encoder on disk, computed once per encoder and windows."""

import dataclasses
import functools
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import jax
import numpy as np

from jaxbridge import hosts
from jaxbridge.features import writer as feature_writer
from jaxbridge.features.capture import captured_rows
from jaxbridge.features.checks import stack
from jaxbridge.features.layout import FeatureLayout
from jaxbridge.features.sweep import call_size
from model_ports import Encoder, weights_hash
from model_ports.encoder import Pool
from model_ports.errors import InputError

Side = Literal["inputs", "outputs"]

_FORMAT = "jaxbridge feature store"
# Raised whenever the same key would give other features or another layout.
_VERSION = 1
_log = logging.getLogger("jaxbridge")


class Windows(Protocol):
    """What features are computed from: a `WindowStore` or `ArrayWindows`."""

    labels: np.ndarray

    @property
    def hash(self) -> str: ...
    def shape(self, modality: str) -> tuple[int, ...]: ...
    def read(self, modality: str, indices: np.ndarray) -> np.ndarray: ...


def ensure_features(
    root: str | Path,
    encoder: Encoder,
    windows: Windows,
    modality: str,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    pool: Pool = "mean",
    batch_size: int = 32,
    block_windows: int = 512,
    devices: list[jax.Device] | None = None,
) -> "FeatureStore":
    """Opens the features of these windows, computing what is not there yet.

    One compiled forward pass per batch, split over the devices; the next batches are read and the
    last ones written meanwhile. Memory does not grow with the number of windows. A run that was
    killed goes on after the last block that was on disk; with the same batch size and devices the
    result is the same to the last bit.

    Stores lie under `root`, each under its key: weights, configuration, windows, modality,
    indices, pooling and, where it is set, JAX's default precision of products. If one of these
    changes, another store is made.

    Args:
        root: folder of all feature stores.
        encoder: any encoder.
        windows: what to read.
        modality: name of the encoder's signal in the windows.
        indices: (n,) which windows, each once. None for all: several processes then share them out
            and get one store; with indices each makes a store of its own.
        pool: as for `Encoder.activations`.
        batch_size: windows per call; rounded up to a multiple of the number of devices.
        block_windows: windows per block; rounded down to whole batches, at least one.
        devices: defaults to all local devices.

    Raises:
        InputError: features that are not finite (what was computed before is kept), windows that
            the encoder does not take, indices that are empty, repeated or out of range, or a
            folder that cannot be written or holds something else.
    """
    chosen = _checked(indices, len(windows.labels))
    if not hosts.several() or indices is not None:
        return _computed(Path(root), encoder, windows, modality, chosen, pool, batch_size,
                         block_windows, devices)
    if len(chosen) < jax.process_count():
        raise InputError(
            f"{len(chosen)} windows are too few for {jax.process_count()} processes; start fewer."
        )
    return _computed_together(Path(root), encoder, windows, modality, chosen, pool, batch_size,
                              block_windows, devices)


def _plan(
    root: Path, encoder: Encoder, windows: Windows, modality: str, chosen: np.ndarray, pool: Pool,
    block: int,
) -> tuple[Path, dict[str, Any], FeatureLayout]:
    """The store's folder, its metadata and what a row of it holds."""
    layout = FeatureLayout.of(encoder, windows.shape(modality), pool)
    key = {
        "encoder": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
        "config": dataclasses.asdict(encoder.config),
        "weights_hash": weights_hash(encoder),
        "windows_hash": windows.hash,
        "modality": modality,
        "indices_sha256": hashlib.sha256(chosen.astype("<i8")).hexdigest(),
        "pool": pool,
        "dtype": "float32",
    }
    if precision := jax.config.jax_default_matmul_precision:
        key["matmul_precision"] = precision  # TF32 or all of float32 on a GPU
    metadata = json.loads(json.dumps({
        "format": _FORMAT, "version": _VERSION, "key": key, "num_windows": len(chosen),
        "block_windows": min(block, len(chosen)),
        "shapes": layout.shapes, "same": layout.same,
    }))  # fmt: skip
    digest = hashlib.sha256(json.dumps([_VERSION, key], sort_keys=True).encode()).hexdigest()
    path = root / f"{encoder.config.name}-{modality}-{pool}-{digest[:16]}"
    return path, metadata, layout


def _computed(
    root: Path, encoder: Encoder, windows: Windows, modality: str, chosen: np.ndarray, pool: Pool,
    batch_size: int, block_windows: int, devices: list[jax.Device] | None,
) -> "FeatureStore":
    size = call_size(batch_size, len(chosen), devices)
    block = max(1, block_windows // size) * size
    path, metadata, layout = _plan(root, encoder, windows, modality, chosen, pool, block)
    what = f"all layers of {encoder.config.name}"
    found, done = _begun(path, metadata, layout, chosen)
    if done == len(chosen):
        _log.info("%s: found in %s, not computed again", what, path)
        return FeatureStore(path, found)
    if done:
        _log.info("%s: %d of %d windows found in %s, going on", what, done, len(chosen), path)
    with feature_writer.FeatureWriter(path, layout, found["block_windows"]) as writer:
        for rows in captured_rows(
            encoder, layout, lambda i: windows.read(modality, i), chosen, pool=pool,
            batch_size=batch_size, start=done, what=f"capturing {what}", devices=devices,
        ):
            writer.append(rows)
    return FeatureStore(path, found)


def _computed_together(
    root: Path, encoder: Encoder, windows: Windows, modality: str, chosen: np.ndarray, pool: Pool,
    batch_size: int, block_windows: int, devices: list[jax.Device] | None,
) -> "FeatureStore":
    """Each process computes a store of its share; the first one joins them."""
    plan = functools.partial(_plan, root, encoder, windows, modality)
    path, metadata, layout = plan(chosen, pool, block_windows)
    if not hosts.from_first(
        lambda: path.exists() and feature_writer.windows_done(path) == len(chosen)
    ):
        shares = root / "shares"
        _computed(shares, encoder, windows, modality, chosen[hosts.share(len(chosen))], pool,
                  batch_size, block_windows, devices)
        hosts.barrier()

        def join() -> None:
            found, done = _begun(path, metadata, layout, chosen)
            with feature_writer.FeatureWriter(path, layout, found["block_windows"]) as writer:
                for part in hosts.shares(len(chosen)):
                    name = plan(chosen[part], pool, block_windows)[0].name
                    store = FeatureStore.open(shares / name)
                    store.copy_to(writer, layout, skip=done)
                    done = max(0, done - len(part))
            shutil.rmtree(shares, ignore_errors=True)

        hosts.from_first(join)
    return FeatureStore(path, _read_metadata(path))


def _begun(
    path: Path, metadata: Mapping[str, Any], layout: FeatureLayout, chosen: np.ndarray
) -> tuple[dict[str, Any], int]:
    """Makes the store unless it is there; returns its metadata and how many windows are done."""
    if not path.exists():
        feature_writer.create(path, metadata, layout, chosen, metadata["block_windows"])
    found = _read_metadata(path)
    if found["key"] != metadata["key"]:
        raise InputError(f"{path} holds features of something else. Remove it.")
    return found, feature_writer.windows_done(path)


class FeatureStore:
    """A finished feature store. Open one with `FeatureStore.open` or `ensure_features`.

    Windows are named by their index in the window store, whatever rows they lie in here.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any]):
        self.path = path
        """The store's folder."""
        self.key: dict[str, Any] = dict(metadata["key"])
        """What decides the features: encoder, configuration, hashes, modality, pooling."""
        self._layout = FeatureLayout(
            {name: tuple(shape) for name, shape in metadata["shapes"].items()}, metadata["same"]
        )
        self._block = metadata["block_windows"]
        self._arrays = {name: feature_writer.open_array(path / name) for name in metadata["shapes"]}
        self.windows: np.ndarray = feature_writer.open_array(path / "window").read().result()
        """(windows,) int64, the windows that the store covers, in the order of its rows."""
        if len(np.unique(self.windows)) < len(self.windows):  # a lost chunk reads as zeros
            raise ValueError("the list of its windows names one twice")
        self.windows.setflags(write=False)
        self._order = np.argsort(self.windows, kind="stable")

    @classmethod
    def open(
        cls, path: str | Path, *, encoder: Encoder | None = None, windows: Windows | None = None
    ) -> "FeatureStore":
        """Opens a finished store.

        Args:
            path: its folder.
            encoder: if given, the store must hold features of these weights.
            windows: if given, the store must hold features of these windows.

        Raises:
            InputError: no feature store, one of another version, unfinished or damaged, or one of
                other weights or windows.
        """
        path = Path(path)
        metadata = _read_metadata(path)
        key = metadata["key"]
        for what, field, wanted in (
            ("weights", "weights_hash", None if encoder is None else weights_hash(encoder)),
            ("windows", "windows_hash", None if windows is None else windows.hash),
        ):
            if wanted is not None and key[field] != wanted:
                raise InputError(
                    f"{path} holds features of other {what}: {key[field]} there, {wanted} given. "
                    "Compute features for these with ensure_features."
                )
        done = feature_writer.windows_done(path)
        if done < metadata["num_windows"]:
            raise InputError(
                f"{path} is unfinished: {done} of {metadata['num_windows']} windows. "
                "Ask ensure_features for it again, which goes on from there."
            )
        try:
            return cls(path, metadata)
        except (KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged: {error}. Remove it and compute it again.") from None

    @property
    def num_layers(self) -> int:
        return self._layout.num_layers

    @property
    def num_windows(self) -> int:
        return len(self.windows)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each layer's output."""
        return self._widths("outputs")

    @property
    def input_widths(self) -> tuple[int, ...]:
        """Features of each layer's input."""
        return self._widths("inputs")

    def outputs(self, i: int, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Pooled output of layer `i`, (n, widths[i]) float32.

        Args:
            i: layer.
            indices: (n,) windows, in the order asked for; all of `windows` if None.

        Raises:
            InputError: no such layer, a window that the store does not cover, or damaged data.
        """
        return self._layer("outputs", i, indices)

    def inputs(self, i: int, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Pooled input of layer `i`, (n, input_widths[i]) float32; see `outputs`."""
        return self._layer("inputs", i, indices)

    def final(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The published model's embedding, (n, ...) float32; see `outputs`."""
        return self._result(*self._start("final", self._rows(indices)))

    def stack(
        self, side: Side = "outputs", indices: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """All layers in memory, zero-padded to (layers, n, max width) float32; see `outputs`."""
        rows = self._rows(indices)
        found = np.zeros((self.num_layers, len(rows), max(self._widths(side))), np.float32)
        for i, width in enumerate(self._widths(side)):
            found[i, :, :width] = self._result(*self._start(f"{side[:-1]}_{i}", rows))
        return found

    def chunks(
        self, side: Side = "outputs", indices: Sequence[int] | np.ndarray | None = None, *,
        size: int | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All layers of some windows at a time, the next ones being read meanwhile.

        Args:
            side: "outputs" or "inputs".
            indices: (n,) windows, in the order asked for; all of `windows` if None.
            size: windows at a time; by default a block as stored.

        Yields:
            Windows (k,) and their features, zero-padded to (layers, k, max width) float32.

        Raises:
            InputError: see `outputs`.
        """
        rows, size = self._rows(indices), size or self._block
        names = [f"{side[:-1]}_{i}" for i in range(self.num_layers)]
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]

        def start(part: np.ndarray):
            return [self._start(name, part) for name in names]

        reading = start(parts[0])
        for part, later in zip(parts, [*parts[1:], None], strict=True):
            layers = [self._result(*one) for one in reading]
            if later is not None:
                reading = start(later)
            yield self.windows[part], stack(layers)[0]

    def copy_to(
        self, writer: feature_writer.FeatureWriter, layout: FeatureLayout, *, skip: int = 0
    ) -> None:
        """Appends this store's rows, all but the first `skip`, block by block."""
        for start in range(skip, self.num_windows, self._block):
            part = np.arange(start, min(start + self._block, self.num_windows))
            rows = np.empty((len(part), layout.row_width), np.float32)
            for name, columns in layout.columns().items():
                rows[:, columns] = self._result(*self._start(name, part)).reshape(len(part), -1)
            writer.append(rows)

    def _widths(self, side: Side) -> tuple[int, ...]:
        return tuple(
            self._layout.shape(f"{side[:-1]}_{i}")[0] for i in range(self.num_layers)
        )

    def _layer(self, side: Side, i: int, indices) -> np.ndarray:
        if not 0 <= i < self.num_layers:
            raise InputError(
                f"there is no layer {i}; {self.path} has layers 0 to {self.num_layers - 1}."
            )
        return self._result(*self._start(f"{side[:-1]}_{i}", self._rows(indices)))

    def _rows(self, indices) -> np.ndarray:
        if indices is None:
            return np.arange(self.num_windows)
        indices = np.asarray(indices, np.int64).reshape(-1)
        at = np.searchsorted(self.windows, indices, sorter=self._order)
        rows = self._order[np.minimum(at, self.num_windows - 1)]
        missing = indices[self.windows[rows] != indices]
        if missing.size or not indices.size:
            what = f"not window {missing[0]}" if missing.size else "none were asked for"
            raise InputError(f"{self.path} covers {self.num_windows} windows, {what}.")
        return rows

    def _start(self, name: str, rows: np.ndarray):
        """Starts reading rows of an array; `_result` takes what this returns."""
        array = self._arrays[self._layout.same.get(name, name)]
        wanted, back = np.unique(rows, return_inverse=True)
        if wanted[-1] - wanted[0] + 1 == wanted.size:  # neighbours: a slice is read faster
            future = array[int(wanted[0]) : int(wanted[-1]) + 1].read()
        else:
            future = array[wanted].read()
        return name, future, None if np.array_equal(wanted, rows) else back

    def _result(self, name: str, future: Any, back: np.ndarray | None) -> np.ndarray:
        remedy = "Remove it and compute it again."
        try:
            values = future.result()
        except ValueError as error:
            raise InputError(f"{self.path} is damaged: {error}. {remedy}") from error
        if not np.isfinite(values).all():
            raise InputError(f"{self.path} is damaged: parts of {name} are missing. {remedy}")
        return values if back is None else values[back]


def _checked(indices: Sequence[int] | np.ndarray | None, count: int) -> np.ndarray:
    if indices is None:
        return np.arange(count)
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if not chosen.size:
        raise InputError("there are no windows to capture; give at least one index.")
    if chosen.min() < 0 or chosen.max() >= count:
        raise InputError(
            f"indices {chosen.min()} to {chosen.max()}: the windows are 0 to {count - 1}."
        )
    if len(np.unique(chosen)) != len(chosen):
        raise InputError("indices name a window twice; give each once.")
    return chosen


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metadata = None
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise InputError(f"{path} is no feature store of jaxbridge. Check the path.")
    if metadata["version"] != _VERSION:
        raise InputError(
            f"{path} is a feature store of version {metadata['version']}, this jaxbridge reads "
            f"version {_VERSION}. Compute it again."
        )
    return metadata
