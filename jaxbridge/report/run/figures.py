"""Curves and signals of a run, for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxbridge.report.page.drawing import INK, MARKERS, SERIES, styled
from jaxbridge.training.fitting import Epoch

# More points than this across a figure cannot be seen.
_POINTS = 1400
_LEADS = 4
_LOSSES = {
    "cosine": "1 - cosine", "token_cosine": "1 - cosine, token by token", "info_nce": "InfoNCE",
    "l1": "L1", "mse": "MSE",
}


def loss_label(bridge: Mapping[str, Any]) -> str:
    """Returns what a bridge's training curve shows, from its settings."""
    label = f"alignment loss ({_LOSSES.get(bridge['loss'], bridge['loss'])}"
    if weight := bridge["logit_weight"]:
        label += f" + {weight:g} x logits"
    return f"{label})"


@styled
def curves_figure(curves: Mapping[str, Sequence[Epoch]], loss: str) -> Figure:
    """Training (solid) and validation (dashed) loss over epochs."""
    figure = Figure(figsize=(4.2, 3.1), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        epochs = [e.epoch for e in curve]
        look = {
            "color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4,
            "markevery": max(1, len(epochs) // 8),
        }
        axes.plot(epochs, [e.train_loss for e in curve], label=f"{name}: training", **look)
        axes.plot(
            epochs, [e.val_loss for e in curve], label=f"{name}: validation", linestyle="--",
            markerfacecolor="none", **look,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(loss)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def window_figure(signals: Sequence[tuple[str, np.ndarray, float, str, Sequence[str]]]) -> Figure:
    """One window of each signal, all over the same seconds.

    Args:
        signals: for each modality its name, the window as stored, samples per second (0 where unknown:
            then each is drawn over the share of its window), unit, leads.
    """
    parts = [
        (name, *part, unit)
        for name, window, rate, unit, leads in signals
        for part in _parts(window, rate, leads)
    ]
    heights = [0.75 if trace.ndim == 1 else 1.8 for _, _, trace, _, _ in parts]
    figure = Figure(figsize=(4.2, 0.55 + sum(heights)), layout="constrained")
    rows = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    timed = all(rate for _, _, trace, rate, _ in parts if trace.ndim == 1)
    lengths = [
        len(trace) / (rate if timed and rate else len(trace)) for _, _, trace, rate, _ in parts
    ]
    longest = max(
        (length for length, part in zip(lengths, parts, strict=True) if part[2].ndim == 1), default=0
    )
    limits = {name: _limits([trace for of, _, trace, *_ in parts if of == name]) for name, *_ in parts}
    for axes, length, (name, lead, trace, _, unit) in zip(rows, lengths, parts, strict=True):
        title = f"{name}, {lead}" if lead not in ("", name) else name
        axes.set_title(title, fontsize=8, pad=2)
        if trace.ndim == 3:
            axes.imshow(trace)
            axes.set(xticks=[], yticks=[], xlabel="picture that the encoder reads")
            continue
        axes.plot(*_thinned(trace, len(trace) / length), color=INK, linewidth=0.7)
        axes.set_ylabel(_short(unit), fontsize=8)
        axes.set(xlim=(0, longest), ylim=limits[name])
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(labelbottom=axes is rows[-1], labelsize=8)
    if parts[-1][2].ndim == 1:
        rows[-1].set_xlabel("time in the window (s)" if timed else "share of the window")
    figure.align_ylabels()
    return figure


def num_leads_shown(window: np.ndarray) -> tuple[int, int]:
    """Returns how many leads of a window are drawn, and how many it has."""
    leads = 1 if window.ndim == 1 else len(window)
    return min(leads, _LEADS), leads


def _parts(window: np.ndarray, rate: float, leads: Sequence[str]):
    """(lead, samples, rate) of each lead that is drawn, or one picture."""
    if window.ndim == 3 and window.shape[0] == 3 and window.shape[1] == window.shape[2]:
        picture = window.transpose(1, 2, 0)
        low, high = picture.min(), picture.max()
        return [("", (picture - low) / max(high - low, 1e-12), rate)]
    traces = window.reshape(1 if window.ndim == 1 else len(window), -1)
    names = list(leads) if len(leads) == len(traces) else [""] * len(traces)
    if not any(names) and len(traces) > 1:
        names = [f"lead {i + 1}" for i in range(len(traces))]
    return [(name, trace, rate) for name, trace in zip(names, traces, strict=True)][:_LEADS]


def _limits(traces: Sequence[np.ndarray]) -> tuple[float, float]:
    """The same for all leads of a signal, so that they compare."""
    low, high = min(t.min() for t in traces), max(t.max() for t in traces)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _thinned(trace: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and values; of a long trace the extremes of short stretches, so that no peak is lost."""
    seconds = np.arange(len(trace)) / rate
    if len(trace) <= _POINTS:
        return seconds, trace
    edges = np.linspace(0, len(trace), _POINTS // 2 + 1).astype(int)
    kept = [
        start + i
        for start, stop in zip(edges, edges[1:], strict=False)
        for i in sorted({int(trace[start:stop].argmin()), int(trace[start:stop].argmax())})
    ]
    return seconds[kept], trace[kept]


def _short(unit: str) -> str:
    return {"standard deviations": "SD", "z-score": "SD"}.get(unit, unit)
