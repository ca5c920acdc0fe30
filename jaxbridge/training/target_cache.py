"""What a bridge must reproduce, computed once: on the devices, in host memory, on disk, or anew.

Targets are the old encoder's own tokens on the pair windows: its last layer's output, or the input
of the layer behind the bridge. For large encoders they are large (NormWear: 5 MB per window).
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbridge import hosts
from jaxbridge.features.sweep import Read, batches
from jaxbridge.training.engine import Batch, Trainer
from jaxbridge.training.sources import Placed, Source, Streamed
from model_ports import Encoder, weights_hash
from model_ports.encoder import token_mean
from model_ports.errors import InputError

Place = Literal["auto", "device", "host", "disk", "recompute"]
PLACES = ("auto", "device", "host", "disk", "recompute")
_log = logging.getLogger("jaxbridge")


@dataclasses.dataclass(frozen=True)
class CacheSettings:
    """Where targets are kept between epochs.

    Attributes:
        place: "auto" is the first of device, host and disk whose budget holds them; "recompute"
            keeps nothing and runs the old encoder again in every epoch.
        device_gb: budget on each device, in GB (1e9 bytes).
        host_gb: budget in the host's memory.
        dtype: "float32" or "bfloat16", which halves the size and rounds targets to 3 digits.
    """

    place: Place = "auto"
    device_gb: float = 1.0
    host_gb: float = 8.0
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise InputError(f"cache place {self.place!r} is unknown; use {', '.join(PLACES)}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"cache dtype is {self.dtype!r}; use 'float32' or 'bfloat16'.")
        if not (self.device_gb >= 0 and self.host_gb >= 0):
            raise InputError("cache budgets must not be negative.")

    def choose(self, total_bytes: int) -> Place:
        """Returns where so many bytes go."""
        if self.place != "auto":
            return self.place
        if total_bytes <= self.device_gb * 1e9:
            return "device"
        return "host" if total_bytes <= self.host_gb * 1e9 else "disk"


@dataclasses.dataclass(frozen=True)
class TargetKind:
    """Which tokens of the old encoder are the target.

    Attributes:
        stop: layers run; `num_layers` for the last layer's output, l for the input of layer l.
        pooled: the token mean in place of all tokens, for a bridge into the head.
    """

    stop: int
    pooled: bool = False

    def __call__(self, encoder: Encoder, signal: jax.Array) -> jax.Array:
        """(batch, ...) signals -> (batch, tokens, features)."""
        tokens = encoder.layer_input(self.stop, signal)
        return token_mean(tokens)[:, None] if self.pooled else tokens

    def shape(self, encoder: Encoder, signal_shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns (tokens, features) of one window's target."""
        tokens, features = encoder.layer_shape(self.stop, (1, *signal_shape))
        return (1, features) if self.pooled else (tokens, features)


class Targets:
    """Targets of a list of windows, kept as `CacheSettings` say.

    Args:
        encoder: the old encoder.
        read: reads old signals by window index.
        indices: (n,) which windows; row i of the targets is window indices[i].
        kind: which tokens.
        settings: where they are kept.
        folder: for targets on disk; a killed run goes on there.
        key: what the signals are (their store's hash); decides with the encoder whether a folder's
            targets are these.
        batch_size: windows per call.
        what: for the log line that explains the choice.

    Raises:
        InputError: disk without a folder, or a folder that cannot be written.
    """

    def __init__(
        self, encoder: Encoder, read: Read, indices: np.ndarray, kind: TargetKind,
        settings: CacheSettings, *, folder: pathlib.Path | None = None, key: str = "",
        batch_size: int = 32, what: str = "targets",
    ):
        self._encoder, self._read, self._indices = encoder, read, np.asarray(indices)
        self._kind, self._batch_size, self._what = kind, batch_size, what
        self._dtype = jnp.dtype(settings.dtype)
        self.shape = kind.shape(encoder, read(self._indices[:1]).shape[1:])
        self.window_bytes = int(np.prod(self.shape)) * self._dtype.itemsize
        total = self.window_bytes * len(self._indices)
        self.place = settings.choose(total)
        _log.info("%s", _explanation(what, len(self._indices), self.window_bytes, total,
                                     self.place, settings))
        if self.place == "disk":
            if folder is None:
                raise InputError(f"{what} need {total / 1e9:.1f} GB on disk; give a folder for them.")
            self._values: Any = self._on_disk(folder, key)
        elif self.place == "recompute":
            self._function = jax.jit(kind)
        else:
            self._values = self._in_memory()

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Returns targets, (k, tokens, features), in the dtype of the cache."""
        if self.place != "recompute":
            return self._values[rows]
        found = np.empty((len(rows), *self.shape), self._dtype)
        for start in range(0, len(rows), self._batch_size):
            part = self._indices[rows[start : start + self._batch_size]]
            # One compiled size: a short batch is filled up with its last window.
            full = np.pad(part, (0, self._batch_size - len(part)), mode="edge")
            values = self._function(self._encoder, self._read(full))
            found[start : start + len(part)] = np.asarray(values)[: len(part)]
        return found

    def source(self, trainer: Trainer, inputs: Batch, rows: np.ndarray) -> Source:
        """Returns what `fit` trains on: `inputs` beside the targets of the same windows.

        Args:
            trainer: whose devices.
            inputs: arrays with a leading axis of len(rows); small.
            rows: which targets.
        """
        if self.place == "device":
            return Placed(trainer, {**inputs, "target": self.rows(rows)})

        def read(i: np.ndarray) -> Mapping[str, np.ndarray]:
            return {**{k: v[i] for k, v in inputs.items()}, "target": self.rows(rows[i])}

        return Streamed(read, len(rows), self.window_bytes)

    def _computed(self, indices: np.ndarray, start: int = 0):
        return batches(
            self._kind, self._encoder, self._read, indices, start=start,
            batch_size=self._batch_size, what=f"capturing {self._what}",
        )

    def _in_memory(self) -> np.ndarray:
        mine, count = _share(len(self._indices))
        found = np.zeros((count, *self.shape), self._dtype)
        self._fill(found, mine, 0, lambda done: None)
        return hosts.gathered(found)

    def _fill(
        self, values: np.ndarray, mine: np.ndarray, start: int, saved: Callable[[int], None]
    ) -> None:
        if start == len(mine):
            return
        for part in batches(
            self._kind, self._encoder, self._read, self._indices[mine], start=start,
            batch_size=self._batch_size, what=f"capturing {self._what}",
        ):
            values[start : start + len(part)] = part
            start += len(part)
            saved(start)

    def _on_disk(self, folder: pathlib.Path, key: str) -> Any:
        """A file per process, filled from where an earlier run left it."""
        mine, count = _share(len(self._indices))
        description = json.dumps([
            key, weights_hash(self._encoder), repr(self._encoder.config),
            dataclasses.asdict(self._kind), str(self._dtype), jax.process_count(),
            hashlib.sha256(np.ascontiguousarray(self._indices, "<i8")).hexdigest(),
        ])
        name = hashlib.sha256(description.encode()).hexdigest()[:16]
        shape = (count, *self.shape)
        path = folder / f"{name}.{jax.process_index()}.targets"
        progress = path.with_suffix(".json")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            start = _done(progress)
            if not path.exists():
                start = 0
                _reserve(path, int(np.prod(shape)) * self._dtype.itemsize)
            values = np.memmap(path, self._dtype, "r+", shape=shape)

            def saved(done: int) -> None:
                values.flush()
                aside = progress.with_suffix(".partial")
                aside.write_text(json.dumps(done))
                os.replace(aside, progress)

            self._fill(values, mine, start, saved)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written: {error.strerror or error}. {self._what} need "
                f"{self.window_bytes * len(self._indices) / 1e9:.1f} GB there."
            ) from error
        if jax.process_count() == 1:
            return values
        hosts.barrier()
        return _Parts([
            np.memmap(folder / f"{name}.{k}.targets", self._dtype, "r", shape=shape)
            for k in range(jax.process_count())
        ])


class _Parts:
    """Equally long files of several processes, read as one array."""

    def __init__(self, parts: list[np.ndarray]):
        self._parts = parts

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        count = len(self._parts[0])
        return np.stack([self._parts[i // count][i % count] for i in rows])


def _reserve(path: pathlib.Path, size: int) -> None:
    """Makes a file whose space is taken on disk already.

    Writing through a map into a file with holes ends the process (SIGBUS) where the disk is full.
    """
    aside = path.with_suffix(".reserved")
    try:
        with aside.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS
                file.truncate(size)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _done(progress: pathlib.Path) -> int:
    """How many rows are on disk; none where the note of it is gone or damaged: they come anew."""
    try:
        return int(json.loads(progress.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return 0


def _share(windows: int) -> tuple[np.ndarray, int]:
    """This process's rows, consecutive, and how many the largest share has."""
    count = -(-windows // jax.process_count())
    start = jax.process_index() * count
    return np.arange(start, min(start + count, windows)), count


def _explanation(
    what: str, windows: int, window_bytes: int, total: int, place: Place, settings: CacheSettings
) -> str:
    size = (
        f"{what}: {windows} windows of {window_bytes / 1e3:.1f} kB {settings.dtype}, "
        f"{total / 1e9:.2f} GB"
    )
    if settings.place != "auto":
        return f"{size}: {place}, as asked"
    budgets = f"budgets: device {settings.device_gb:g} GB, host {settings.host_gb:g} GB"
    return f"{size}: kept on {'the ' if place == 'device' else ''}{place} ({budgets})"


def real_tokens(
    encoder: Encoder, read: Read, indices: np.ndarray, kind: TargetKind, count: int, *, seed: int
) -> np.ndarray:
    """Returns tokens of the old encoder, drawn over all tokens of all windows alike.

    Each token of each window is drawn at most once. The draw depends on the seed and the numbers of
    windows and tokens alone, so only the windows with drawn tokens are run.

    Args:
        encoder: the old encoder.
        read: reads old signals by window index.
        indices: (n,) windows to draw from.
        kind: which tokens, those that the bridge stands in for.
        count: vectors to draw.
        seed: fixes the draw.

    Returns:
        (count, features) float32, in the order of windows and tokens.

    Raises:
        InputError: fewer tokens than vectors to draw.
    """
    tokens, features = kind.shape(encoder, read(indices[:1]).shape[1:])
    check_drawable(count, len(indices), tokens)
    total = tokens * len(indices)
    drawn = np.sort(np.random.default_rng([seed, kind.stop]).choice(total, count, replace=False))
    windows, position = np.divmod(drawn, tokens)
    needed, where = np.unique(windows, return_inverse=True)
    found = np.empty((count, features), np.float32)
    at = 0
    for part in batches(
        kind, encoder, read, np.asarray(indices)[needed], what="drawing prototypes", batch_size=32
    ):
        here = (where >= at) & (where < at + len(part))
        found[here] = part[where[here] - at, position[here]]
        at += len(part)
    return found


def check_drawable(count: int, windows: int, tokens: int) -> None:
    """Refuses to draw more vectors than so many windows have tokens (`InputError`)."""
    if count > (total := windows * tokens):
        raise InputError(
            f"{count} prototypes cannot be drawn from {total} real vectors ({windows} windows "
            f"of {tokens} tokens); use fewer prototypes or more pairs."
        )
