"""The figures of a study; no series is told by hue alone."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from jaxbridge.report.page.drawing import DASHES, INK, LINE, MARKERS, MUTED, PAPER, SERIES, styled
from jaxbridge.statistics.intervals import Interval

_SCORE = "balanced accuracy on test"
_KINDS = ("method", "baseline", "control or bound")


@styled
def bars_figure(
    found: Mapping[str, Interval], runs: Mapping[str, Sequence[float]], baselines: Collection[str],
    controls: Collection[str], chance: float,
) -> Figure:
    """Bars with 95 % intervals, a point for every seed and fold.

    Args:
        found: method -> score.
        runs: method -> its scores, one per seed and fold.
        baselines, controls: drawn in grey and hatched.
        chance: score of a guess.
    """
    figure, axes = _rows(len(found))
    for i, (method, (value, low, high)) in enumerate(found.items()):
        kind = _kind(method, baselines, controls)
        axes.barh(i, value, height=0.62, label=kind, **_look(kind))
        if math.isfinite(low):
            axes.plot([low, high], [i, i], color=INK, linewidth=1.4, label="95 % interval")
            axes.plot([low, high], [i, i], "|", color=INK, markersize=7)
        if len(runs[method]) > 1:
            axes.plot(
                runs[method], np.full(len(runs[method]), i + 0.2), "o", markersize=3, color=INK,
                markerfacecolor=PAPER, markeredgewidth=0.7, linestyle="none", label="a seed or fold",
            )
    axes.axvline(chance, color=MUTED, linestyle=":", linewidth=1, label="chance")
    axes.set_yticks(range(len(found)), list(found))
    highest = max(np.nanmax([v.value, v.high]) for v in found.values())
    axes.set(xlim=(0, min(1, highest * 1.06 + 0.01)), xlabel=_SCORE)
    _legend(figure, axes)
    return figure


@styled
def parameters_figure(
    points: Mapping[str, tuple[float, Interval]], baselines: Collection[str],
    controls: Collection[str], chance: float,
) -> Figure:
    """Score against trained parameters, on a logarithmic axis; method -> (parameters, score)."""
    figure = Figure(figsize=(4.8, 3.9), layout="constrained")
    axes = figure.subplots()
    shapes = {"method": "o", "baseline": "s", "control or bound": "D"}
    for i, (method, (size, (value, low, high))) in enumerate(points.items()):
        kind = _kind(method, baselines, controls)
        colour = {"method": SERIES[0], "baseline": SERIES[1]}.get(kind, MUTED)
        if math.isfinite(low):
            axes.plot([size, size], [low, high], color=colour, linewidth=1, alpha=0.6)
        axes.plot(
            size, value, shapes[kind], color=colour, label=kind, linestyle="none",
            markerfacecolor=colour if kind == "method" else PAPER,
        )
        axes.annotate(str(i + 1), (size, value), (5, 3), textcoords="offset points", fontsize=8)
    axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1)
    axes.set(xlabel="trained parameters (logarithmic)", ylabel=_SCORE)
    _legend(figure, axes)
    return figure


@styled
def varied_figure(
    series: Mapping[str, Sequence[tuple[float, Interval]]], label: str, log: bool, chance: float
) -> Figure:
    """Score against what the study varies; series -> (x, score)."""
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(series.items()):
        x = [at for at, _ in points]
        colour = SERIES[i % len(SERIES)]
        low, high = ([getattr(found, side) for _, found in points] for side in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x, [found.value for _, found in points], color=colour, marker=MARKERS[i % len(MARKERS)],
            linestyle=DASHES[i % len(DASHES)], label=name,
        )
    axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1, label="chance")
    if log:
        axes.set_xscale("log")
    places = sorted({at for points in series.values() for at, _ in points})
    if len(places) <= 8:
        axes.set_xticks(places)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=label, ylabel=f"{_SCORE} (band: 95 %)")
    _legend(figure, axes)
    return figure


@styled
def cost_figure(
    values: Mapping[str, float], label: str, unit: str, baselines: Collection[str],
    controls: Collection[str],
) -> Figure:
    """One cost of every method, on a logarithmic axis where the largest is 30 times the smallest."""
    figure, axes = _rows(len(values))
    for i, (method, value) in enumerate(values.items()):
        kind = _kind(method, baselines, controls)
        axes.barh(i, value, height=0.62, label=kind, **_look(kind))
    axes.set_yticks(range(len(values)), list(values))
    positive = [v for v in values.values() if math.isfinite(v) and v > 0]
    scale = ""
    if max(positive) > 30 * min(positive):
        axes.set_xscale("log")
        axes.set_xlim(min(positive) / 2, max(positive) * 1.5)
        axes.xaxis.set_minor_formatter(NullFormatter())
        scale = " (logarithmic)"
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit))
    axes.set_xlabel(label + scale)
    _legend(figure, axes)
    return figure


def _rows(count: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 1.15 + 0.27 * count), layout="constrained")
    axes = figure.subplots()
    axes.invert_yaxis()
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _kind(method: str, baselines: Collection[str], controls: Collection[str]) -> str:
    if method in controls:
        return "control or bound"
    return "baseline" if method in baselines else "method"


def _look(kind: str) -> dict:
    if kind == "method":
        return {"color": SERIES[0]}
    if kind == "baseline":
        return {"facecolor": LINE, "edgecolor": MUTED, "linewidth": 0.8}
    return {"facecolor": PAPER, "edgecolor": MUTED, "linewidth": 0.8, "hatch": "////"}


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the axes, each label once."""
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    first = [label for label in _KINDS if label in found]
    once = {label: found[label] for label in (*first, *found)}
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=min(len(once), 3))
