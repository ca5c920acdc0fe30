"""The scan as one picture; nothing in it is told by hue alone."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxbridge.selection.bootstrap import Stability
from jaxbridge.selection.scanner import Scan

_CRITERIA = {
    "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy", "log_loss": "log loss"
}
# Above this many cells numbers in them cannot be read.
_CELLS_WITH_NUMBERS = 200


def scan_figure(scan: Scan, *, new: str = "new model", old: str = "old model") -> Figure:
    """Probe curve with intervals and chance, CKA map and joint map, the chosen position framed.

    Args:
        scan: what was found.
        new, old: names for the axes.
    """
    rows, columns = scan.cka.value.shape
    width = min(1.9 + 0.52 * columns, 9)
    figure = Figure(
        figsize=(5.2 + 2 * width, max(4.0, min(1.8 + 0.36 * rows, 9))), layout="constrained"
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=(4.6, width, width))
    _curve(left, scan, new, old)
    at = scan.selection.m, scan.selection.l
    in_row = np.zeros(scan.cka.value.shape, bool)
    in_row[scan.selection.m] = scan.row.tied
    _map(middle, scan.cka, in_row, at, "linear CKA (*: tied with the chosen one)", new, old)
    _map(right, scan.joint, scan.joint.tied, at, "share explained by ridge (*: tied with the best)",
         new, old)  # fmt: skip
    middle.set_title("Similarity of the layers\nframe: chosen position", fontsize=10)
    best = np.unravel_index(np.argmax(scan.joint.value), scan.joint.value.shape)
    if scan.joint.tied[at]:
        which = "best here" if best == at else "tied with the best"
        right.set_title(f"Joint map\nframe: chosen position, {which}", fontsize=10)
    else:
        _frame(right, best, "--")
        right.set_title("Joint map\nframe: chosen position; dashed: best here", fontsize=10)
    return figure


def _curve(axes: Axes, scan: Scan, new: str, old: str) -> None:
    found, m = scan.probe, scan.selection.m
    layers = np.arange(len(found.value))
    axes.fill_between(layers, found.low, found.high, color="0.85", label="95 % interval")
    axes.plot(layers, found.value, "-", color="0.2", linewidth=1)
    tied = found.tied & (layers != m)
    apart = ~found.tied
    axes.plot(layers[apart], found.value[apart], "o", color="0.2", label="layer")
    if tied.any():
        axes.plot(
            layers[tied], found.value[tied], "o", markerfacecolor="white", markeredgecolor="0.2",
            markersize=8, label="tied with the best",
        )
    axes.plot(m, found.value[m], "s", color="black", markersize=10, label=f"chosen: {m}")
    axes.axhline(scan.chance, linestyle=":", color="0.2", label="chance")
    axes.set_xlabel(f"output of new layer ({new})")
    axes.set_ylabel(f"held-out {_CRITERIA[scan.selection.criterion]} of a linear probe")
    axes.set_title(f"How well each new layer predicts\nthe labels that {old} gives", fontsize=10)
    axes.set_xticks(_ticks(len(layers)))
    if scan.selection.criterion != "log_loss":
        axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, loc="best")


def _map(
    axes: Axes, found: Stability, tied: np.ndarray, chosen: tuple[int, int], label: str, new: str,
    old: str,
) -> None:
    table = found.value
    # From 0, so that small differences look small; a negative share explains as little as none.
    high = max(float(table.max()), 0.05)
    image = axes.imshow(table, cmap="cividis", vmin=0, vmax=high, origin="lower", aspect="auto")
    _frame(axes, chosen, "-")
    if table.size <= _CELLS_WITH_NUMBERS:
        for at, value in np.ndenumerate(table):
            star = "*" if tied[at] and tied.sum() > 1 else ""
            axes.text(
                at[1], at[0], f"{round(value, 2) + 0.0:.2f}{star}", ha="center", va="center",
                fontsize=7, color="white" if value < high / 2 else "black",
            )
    axes.set_xlabel(f"input of old layer ({old})")
    axes.set_ylabel(f"output of new layer ({new})")
    axes.set_xticks(_ticks(table.shape[1]))
    axes.set_yticks(_ticks(table.shape[0]))
    axes.figure.colorbar(image, ax=axes, label=label)


def _ticks(count: int) -> range:
    return range(0, count, 1 if count <= 18 else 4)


def _frame(axes: Axes, at: tuple[int, int], style: str) -> None:
    axes.add_patch(
        Rectangle(
            (at[1] - 0.5, at[0] - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=2,
            linestyle=style, clip_on=False,
            path_effects=[patheffects.withStroke(linewidth=5, foreground="white")],
        )
    )
