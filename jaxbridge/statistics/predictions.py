"""What one fitted method said about one split: all that statistics start from."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxbridge.statistics.confusion import SCORES
from model_ports.errors import InputError


@dataclasses.dataclass(eq=False)
class Predictions:
    """Logits of the windows of one split, by one method, seed and fold.

    Attributes:
        logits: (windows, classes).
        labels: (windows,) true classes.
        subjects: (windows,) whose windows. People of different seeds who are not the same need
            different names ("0/S001"): they are what is resampled and paired.
        seed, fold: which run. Folds of one seed are pooled, seeds are averaged.
    """

    logits: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray
    seed: int = 0
    fold: int = 0

    def __post_init__(self) -> None:
        self.logits, self.labels = np.asarray(self.logits, np.float32), np.asarray(self.labels)
        self.subjects = np.asarray(self.subjects).astype(str)
        windows = len(self.labels)
        if self.logits.ndim != 2 or not (len(self.logits) == len(self.subjects) == windows > 0):
            raise InputError(
                f"predictions: logits {self.logits.shape}, {windows} labels and "
                f"{len(self.subjects)} subjects; give one row of each per window."
            )
        if not np.isfinite(self.logits).all():
            raise InputError("predictions: logits are NaN or infinite; the method has failed.")
        if self.labels.min() < 0 or self.labels.max() >= self.logits.shape[1]:
            raise InputError(f"predictions: labels must be 0 to {self.logits.shape[1] - 1}.")

    @property
    def num_classes(self) -> int:
        return self.logits.shape[1]

    @property
    def predicted(self) -> np.ndarray:
        """(windows,) classes."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """(windows, classes) softmax of the logits, float64."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        raised = np.exp(shifted)
        return raised / raised.sum(axis=1, keepdims=True)

    def confusions(self, names: Sequence[str]) -> np.ndarray:
        """Returns each named subject's confusion matrix, (names, classes, classes) counts."""
        place = {name: i for i, name in enumerate(names)}
        owner = np.array([place[name] for name in self.subjects])
        counts = np.zeros((len(names), self.num_classes, self.num_classes), np.int64)
        np.add.at(counts, (owner, self.labels, self.predicted), 1)
        return counts

    def save(self, path: str | pathlib.Path) -> None:
        """Writes everything to a .npz file."""
        np.savez(path, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Predictions":
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            found = dict(arrays)
        return cls(**found | {key: int(found[key]) for key in ("seed", "fold")})


def pooled(runs: Sequence[Predictions]) -> tuple[list[str], np.ndarray]:
    """Returns all subjects, sorted, and each seed's confusion matrices of them.

    Args:
        runs: of one method and split; folds of a seed are summed.

    Returns:
        Names, and (seeds, subjects, classes, classes) counts; zeros where a seed lacks a subject.

    Raises:
        InputError: no runs, a run given twice, or other numbers of classes.
    """
    if not runs:
        raise InputError("there are no runs to summarise.")
    keys = [(run.seed, run.fold) for run in runs]
    if len(set(keys)) < len(keys):
        raise InputError(f"runs (seed, fold) {sorted(keys)}: give each once.")
    if len({run.num_classes for run in runs}) > 1:
        raise InputError("runs of different numbers of classes cannot be summarised together.")
    names = sorted({name for run in runs for name in run.subjects})
    seeds = sorted({run.seed for run in runs})
    counts = np.zeros((len(seeds), len(names), runs[0].num_classes, runs[0].num_classes), np.int64)
    for run in runs:
        counts[seeds.index(run.seed)] += run.confusions(names)
    return names, counts


def check_score(name: str) -> None:
    """Refuses an unknown score (`InputError`)."""
    if name not in SCORES:
        raise InputError(f"there is no score {name!r}; there are {', '.join(SCORES)}.")
