"""Windows of simultaneous signals where one label holds a given share of the window.

Labels are counted at their own sampling rate, which is to give every moment the nearest label:
they are never interpolated. (The reference resamples class numbers with an FFT and rounds.)
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.data.lazy_windows import CutWindows
from jaxbridge.data.windows import count_windows, samples_per_window


class LabelledWindows(NamedTuple):
    """Simultaneous windows.

    Attributes:
        arrays: signal name -> (windows, leads, samples) float32, cut when they are read.
        labels: (windows,) positions in the list of wanted labels.
        start_s: (windows,) start of each window in seconds from the start of the recording.
    """

    arrays: dict[str, CutWindows]
    labels: np.ndarray
    start_s: np.ndarray


def labelled_windows(
    signals: Mapping[str, tuple[np.ndarray, float]],
    labels: np.ndarray,
    label_hz: float,
    *,
    wanted: Sequence[int],
    share: float,
    window_s: float,
    step_s: float,
) -> LabelledWindows:
    """Cuts windows every `step_s` and keeps those that one of the wanted labels fills.

    Args:
        signals: name -> ((leads, samples), sampling rate in Hz), all starting at time 0.
        labels: (label samples,) integers, starting at time 0.
        label_hz: of the labels.
        wanted: labels that are classes; a window is kept for one of these only.
        share: least share of the window's label samples that must have the label, over 0.5.
        window_s, step_s: length and distance of windows in seconds.

    Returns:
        Windows within all signals and the labels; perhaps none.

    Raises:
        InputError: window or step do not fit a sampling rate, see `windows.count_windows`.
    """
    rates = [(len(labels), label_hz)]
    rates += [(signal.shape[-1], rate) for signal, rate in signals.values()]
    count = min(count_windows(samples, rate, window_s, step_s) for samples, rate in rates)
    length = samples_per_window(window_s, label_hz)
    starts = _starts(np.arange(count), label_hz, step_s)
    counts = _counts(labels, wanted, starts, starts + length)
    enough = math.ceil(share * length - 1e-9)
    chosen = np.flatnonzero(counts.max(axis=0) >= enough)
    arrays = {
        name: _cut(signal, rate, window_s, step_s, chosen)
        for name, (signal, rate) in signals.items()
    }
    return LabelledWindows(arrays, counts[:, chosen].argmax(axis=0), chosen * float(step_s))


def _starts(indices: np.ndarray, sampling_rate_hz: float, step_s: float) -> np.ndarray:
    """First samples of windows; rounded as in `windows.cut`."""
    return np.rint(indices * step_s * sampling_rate_hz).astype(np.int64)


def _counts(
    labels: np.ndarray, wanted: Sequence[int], starts: np.ndarray, stops: np.ndarray
) -> np.ndarray:
    """(wanted, windows): how many samples from start to stop have a label. Labels come in long runs."""
    counts = np.zeros((len(wanted), len(starts)), np.int64)
    if not len(starts):
        return counts
    runs = np.concatenate([[0], np.flatnonzero(labels[1:] != labels[:-1]) + 1])
    for row, label in zip(counts, wanted, strict=True):
        has = labels[runs] == label
        before = np.concatenate([[0], np.cumsum(np.diff(runs) * has[:-1])])
        for sign, at in ((-1, starts), (1, stops)):
            run = np.searchsorted(runs, at, "right") - 1
            row += sign * (before[run] + has[run] * (at - runs[run]))
    return counts


def _cut(
    signal: np.ndarray, sampling_rate_hz: float, window_s: float, step_s: float, chosen: np.ndarray
) -> CutWindows:
    length = samples_per_window(window_s, sampling_rate_hz)
    starts = _starts(chosen, sampling_rate_hz, step_s)
    return CutWindows(signal.astype(np.float32), starts, (len(signal), length))
