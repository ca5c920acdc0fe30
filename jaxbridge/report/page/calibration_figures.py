"""Whether confidence means what it says, as pictures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxbridge.report.page.drawing import DASHES, MARKERS, MUTED, SERIES, styled


class Reliability(NamedTuple):
    """Bins that hold windows: (bins,) windows, mean confidence, share of right ones."""

    windows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


class Answered(NamedTuple):
    """(points,) share of windows answered, and their balanced accuracy."""

    share: np.ndarray
    score: np.ndarray


@styled
def reliability_figure(methods: Mapping[str, Reliability]) -> Figure:
    """Accuracy against confidence; a marker's area grows with its bin's share of the windows."""
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="confidence = accuracy")
    for i, (name, bins) in enumerate(methods.items()):
        _line(axes, i, bins.confidence, bins.accuracy, name, linewidth=0.8)
        axes.scatter(
            bins.confidence, bins.accuracy, s=6 + 240 * bins.windows / bins.windows.sum(),
            color=SERIES[i % len(SERIES)], marker=MARKERS[i % len(MARKERS)], alpha=0.45, linewidths=0,
        )
    low = min((bins.confidence.min() for bins in methods.values()), default=0)
    axes.set(xlim=(max(0, low - 0.08), 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel("confidence (probability of the predicted class)")
    axes.set_ylabel("share predicted right")
    axes.legend(loc="best")
    return figure


@styled
def abstention_figure(methods: Mapping[str, Answered]) -> Figure:
    """Balanced accuracy against the share of windows answered, surest first."""
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(methods.items()):
        _line(axes, i, 100 * curve.share, curve.score, name)
    axes.set(xlim=(0, 102))
    axes.set_xlabel("windows answered, surest first (%)")
    axes.set_ylabel("balanced accuracy of the answers")
    axes.legend(loc="best")
    return figure


def _line(
    axes: Axes, i: int, x: Sequence[float], y: Sequence[float], name: str, **look: float
) -> None:
    axes.plot(
        x, y, color=SERIES[i % len(SERIES)], marker=MARKERS[i % len(MARKERS)], markersize=4,
        linestyle=DASHES[i % len(DASHES)], label=name, **look,
    )
