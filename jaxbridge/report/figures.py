"""Figures of one run, readable in greyscale."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxbridge.selection.two_stage import Selection


def layer_scan(selection: Selection, num_classes: int) -> Figure:
    """Probe score of every new layer, and similarity of every pair of layers."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    scores = np.asarray(selection.probe_scores)
    layers = np.arange(len(scores))
    mean, std = scores.mean(axis=1), scores.std(axis=1)
    left.fill_between(layers, mean - std, mean + std, color="0.85", label="spread over folds")
    left.plot(layers, mean, "o-", color="0.2", label="mean")
    left.plot(selection.m, mean[selection.m], "s", color="black", markersize=9, label="chosen")
    left.axhline(1 / num_classes, linestyle=":", color="0.4", label="chance")
    left.set_xlabel("layer of the new encoder (output)")
    left.set_ylabel("macro F1 of the teacher's labels")
    left.set_xticks(layers)
    left.set_ylim(0, 1)
    left.legend(loc="lower left", fontsize=8)

    table = np.asarray(selection.cka)
    image = right.imshow(table, cmap="Greys", vmin=0, vmax=1, origin="lower", aspect="auto")
    right.add_patch(_frame(selection.l, selection.m))
    for (m, l), value in np.ndenumerate(table):  # noqa: E741
        if table.size <= 150:
            right.text(l, m, f"{value:.2f}", ha="center", va="center", fontsize=7,
                       color="white" if value > 0.5 else "black")
    right.set_xlabel("layer of the old encoder (input)")
    right.set_ylabel("layer of the new encoder (output)")
    right.set_xticks(range(table.shape[1]))
    right.set_yticks(range(table.shape[0]))
    figure.colorbar(image, ax=right, label="linear CKA (frame: chosen)")
    return figure


def _frame(column: int, row: int):
    # Seen on cells of any grey.
    return Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=2.5, clip_on=False,
        path_effects=[patheffects.withStroke(linewidth=5.5, foreground="white")],
    )


def confusion(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Figure:
    """Confusion matrices of several methods, in shares of each true class."""
    figure = Figure(figsize=(2.9 * len(rows), 3.2), layout="constrained")
    for axes, row in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        counts = np.asarray(row["confusion"])
        shares = counts / counts.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            axes.text(j, i, f"{share:.0%}\n{counts[i, j]}", ha="center", va="center", fontsize=8,
                      color="white" if share > 0.5 else "black")
        axes.set_title(f"{row['method']}\nbalanced accuracy {row['balanced_accuracy']:.2f}",
                       fontsize=9)
        # A class's name is no formula, whatever dollars are in it.
        axes.set_xticks(range(len(classes)), classes, fontsize=8, parse_math=False)
        axes.set_yticks(
            range(len(classes)), classes, fontsize=8, rotation=90, va="center", parse_math=False
        )
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
    return figure
