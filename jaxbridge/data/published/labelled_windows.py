"""Windows of simultaneous signals where one label holds a given share of the window.

Labels are counted at their own sampling rate, which is to give every moment the nearest label:
they are never interpolated. (The reference resamples class numbers with an FFT and rounds.)
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.data.windows import count_windows, samples_per_window


class LabelledWindows(NamedTuple):
    """Simultaneous windows.

    Attributes:
        arrays: signal name -> (windows, leads, samples) float32, a copy.
        labels: (windows,) positions in the list of wanted labels.
        start_s: (windows,) start of each window in seconds from the start of the recording.
    """

    arrays: dict[str, np.ndarray]
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
    counts = np.empty((len(wanted), count), np.int64)
    for row, label in zip(counts, wanted, strict=True):
        until = np.concatenate([[0], np.cumsum(labels == label)])
        row[:] = until[starts + length] - until[starts]
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


def _cut(
    signal: np.ndarray, sampling_rate_hz: float, window_s: float, step_s: float, chosen: np.ndarray
) -> np.ndarray:
    length = samples_per_window(window_s, sampling_rate_hz)
    signal = signal.astype(np.float32)  # before cutting: windows may overlap many times
    windows = np.empty((len(chosen), len(signal), length), np.float32)
    starts = _starts(chosen, sampling_rate_hz, step_s)
    for window, start in zip(windows, starts, strict=True):
        window[:] = signal[:, start : start + length]
    return windows
