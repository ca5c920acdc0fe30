"""Whether probabilities mean what they say, and what leaving out unsure windows gains."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbridge.statistics.confusion import accuracy, balanced_accuracy
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A reliability diagram (Guo et al. 2017, arXiv 1706.04599).

    Attributes:
        ece: expected calibration error: mean distance of accuracy from confidence over bins,
            weighted by their windows.
        edges: (bins + 1,) of confidence, the highest class probability; bin i holds
            edges[i] < confidence <= edges[i + 1].
        count: (bins,) windows.
        confidence, accuracy: (bins,) means, NaN in empty bins.
    """

    ece: float
    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON; empty bins are None."""
        return {
            "ece": self.ece, "edges": self.edges.tolist(), "count": self.count.tolist(),
            "confidence": _without_nan(self.confidence), "accuracy": _without_nan(self.accuracy),
        }


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Scores on the windows that a method is surest of.

    Attributes:
        coverage: (points,) share of windows that are answered.
        threshold: (points,) lowest confidence among them.
        accuracy: (points,) of the answered windows.
        balanced_accuracy: (points,) the same, over the classes that are left.
    """

    coverage: np.ndarray
    threshold: np.ndarray
    accuracy: np.ndarray
    balanced_accuracy: np.ndarray

    def as_dict(self) -> dict[str, list[float]]:
        """For JSON."""
        return {name: values.tolist() for name, values in dataclasses.asdict(self).items()}


def calibration(probabilities: np.ndarray, labels: np.ndarray, *, num_bins: int = 15) -> Calibration:
    """Returns the reliability of the predicted class's probability.

    Args:
        probabilities: (windows, classes).
        labels: (windows,) true classes.
        num_bins: bins of equal width.

    Raises:
        InputError: no windows, rows that do not sum to 1, or no bins.
    """
    confidence, right = _sureness(probabilities, labels)
    if num_bins < 1:
        raise InputError(f"num_bins is {num_bins}; it must be at least 1.")
    edges = np.linspace(0, 1, num_bins + 1)
    owner = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    count = np.bincount(owner, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(owner, confidence, num_bins) / count
        hits = np.bincount(owner, right, num_bins) / count
    filled = count > 0
    ece = float(np.sum(count[filled] * np.abs(means - hits)[filled]) / len(labels))
    return Calibration(ece, edges, count, means, hits)


def abstention(
    probabilities: np.ndarray, labels: np.ndarray,
    coverages: Sequence[float] = tuple(np.arange(1, 21) / 20),
) -> Abstention:
    """Returns scores when only the surest windows are answered.

    Args:
        probabilities: (windows, classes).
        labels: (windows,) true classes.
        coverages: shares to answer, in (0, 1]; rounded up to whole windows.

    Raises:
        InputError: a coverage outside, or see `calibration`.
    """
    confidence, _ = _sureness(probabilities, labels)
    wanted = np.asarray(coverages, np.float64)
    if not ((wanted > 0) & (wanted <= 1)).all():
        raise InputError("coverages must be above 0 and at most 1.")
    order = np.argsort(-confidence, kind="stable")
    classes, total = np.shape(probabilities)[1], len(labels)
    cells = np.asarray(labels)[order] * classes + np.argmax(probabilities, axis=1)[order]
    hits = np.cumsum(cells[:, None] == np.arange(classes**2), axis=0)
    kept = np.ceil(wanted * total - 1e-9).astype(int)
    confusion = hits[kept - 1].reshape(-1, classes, classes)
    return Abstention(
        kept / total, confidence[order][kept - 1], accuracy(confusion), balanced_accuracy(confusion)
    )


def _sureness(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each window's confidence, and 1.0 where its predicted class is right."""
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or not len(labels):
        raise InputError(
            f"probabilities {probabilities.shape} and {len(labels)} labels; give one row per window."
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise InputError("probabilities do not sum to 1; take the softmax of logits.")
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _without_nan(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
