"""Labelled sets as one: what is read from them, and the order in which they are mixed."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxbridge.teacher import class_weights
from jaxbridge.teacher_stage import Windows
from jaxbridge.training.engine import Batch
from jaxbridge.training.sources import Streamed
from model_ports.errors import InputError

_SPLITS = ("train", "val")


@dataclasses.dataclass(frozen=True, eq=False)
class TaskSet:
    """A labelled set of windows: one task.

    Attributes:
        name: of the task.
        windows: a `WindowStore` or `ArrayWindows` with splits train and val.
        modality: which of its signals is read.
    """

    name: str
    windows: Windows
    modality: str

    @property
    def num_classes(self) -> int:
        return len(self.windows.class_names)


def common_shape(sets: Sequence[TaskSet]) -> tuple[int, ...]:
    """Returns the shape of one window, the same in all sets.

    Raises:
        InputError: no set, two of one name, an unknown modality, a split without windows, or
            windows of different shapes.
    """
    names = [one.name for one in sets]
    if not sets or len(set(names)) != len(names):
        raise InputError(f"sets {', '.join(names) or '(none)'}: give one or more, each with its name.")
    for one in sets:
        if one.modality not in one.windows.modalities:
            raise InputError(
                f"set {one.name} has no modality {one.modality!r}; it has "
                f"{', '.join(one.windows.modalities)}."
            )
        for split in _SPLITS:
            if not (one.windows.splits == split).any():
                raise InputError(
                    f"set {one.name} has no windows in split {split!r}; prepare it with that split."
                )
    shapes = {one.name: one.windows.shape(one.modality) for one in sets}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(
            f"windows of one shape are needed for one encoder, not {listed}; prepare all sets with "
            "the same leads, sampling rate and window_s."
        )
    return shapes[names[0]]


class MixedSets:
    """A split of several sets as one row of windows, set after set, and its mixing.

    An epoch is round robin: window after window from each set in turn, each set shuffled, until
    the largest has been seen once; smaller ones start again, shuffled anew. So a batch of k windows
    per set has exactly k of each, and all sets count the same.

    Args:
        sets: one or more, see `common_shape`.
        split: name.
        balance: weigh each class by 1 / its number of train windows within its set.

    Attributes:
        sizes: windows of each set.

    Raises:
        InputError: a class without a train window.
    """

    def __init__(self, sets: Sequence[TaskSet], split: str, *, balance: bool):
        self._sets = tuple(sets)
        self._rows = [np.flatnonzero(one.windows.splits == split) for one in sets]
        self.sizes = tuple(map(len, self._rows))
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._shape = sets[0].windows.shape(sets[0].modality)
        total, columns = sum(self.sizes), []
        for number, (one, rows) in enumerate(zip(sets, self._rows, strict=True)):
            trained = one.windows.labels[np.flatnonzero(one.windows.splits == "train")]
            try:
                weights = class_weights(trained, one.num_classes, balance)
            except InputError as error:
                raise InputError(f"set {one.name}: {error}") from None
            labels = one.windows.labels[rows]
            columns.append({
                "task": np.full(len(rows), number, np.int32), "label": labels.astype(np.int32),
                "class_weight": weights[labels],
            })
        self._columns = {key: np.concatenate([c[key] for c in columns]) for key in columns[0]}
        self._equal = np.repeat([total / (len(sets) * size) for size in self.sizes], self.sizes)

    def order(self, windows: int, epoch: int, seed: int) -> np.ndarray:
        """Returns the windows of an epoch, (sets * largest set,); it depends on (seed, epoch) alone."""
        rounds, columns = windows // len(self.sizes), []
        for number, size in enumerate(self.sizes):
            rng = np.random.default_rng([seed, epoch, number])
            passes = [rng.permutation(size) for _ in range(-(-rounds // size))]
            columns.append(self._starts[number] + np.concatenate(passes)[:rounds])
        return np.stack(columns, axis=1).reshape(-1)

    def mixed(self) -> Streamed:
        """Returns a source for training in that order, read from the sets as it is needed."""
        rounds = max(self.sizes)
        return Streamed(self.read_mixed, rounds * len(self.sizes), self._window_bytes)

    def once(self) -> Streamed:
        """Returns a source of every window once, for validation."""
        return Streamed(self.read_once, sum(self.sizes), self._window_bytes)

    def read_mixed(self, indices: np.ndarray) -> Batch:
        """Returns what `uncertainty_loss` takes, of windows in round robin order."""
        return {**self._read(indices), "set_weight": np.ones(len(indices), np.float32)}

    def read_once(self, indices: np.ndarray) -> Batch:
        """Returns the same where each window is read once: weights make all sets count the same."""
        return {**self._read(indices), "set_weight": self._equal[indices].astype(np.float32)}

    @property
    def _window_bytes(self) -> int:
        return 4 * (int(np.prod(self._shape)) + 4)

    def _read(self, indices: np.ndarray) -> Batch:
        signals = np.empty((len(indices), *self._shape), np.float32)
        found = {key: column[indices] for key, column in self._columns.items()}
        for number, one in enumerate(self._sets):
            mine = found["task"] == number
            rows = self._rows[number][indices[mine] - self._starts[number]]
            signals[mine] = one.windows.read(one.modality, rows)
        return {"input": signals, **found}
