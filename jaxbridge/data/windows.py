"""Cutting simultaneous signals into windows that start at the same moments.

Window i spans [start_s + i * step_s, start_s + i * step_s + window_s) in every signal, whatever its
sampling rate; its first sample is the nearest to that moment, counted from sample 0 each time, so
no error adds up.
"""

import math

import numpy as np

from jaxbridge.data.checks import check_durations
from model_ports.errors import InputError

# Sample counts that are whole but for rounding in `seconds * rate`.
_SLACK = 1e-6


def samples_per_window(window_s: float, sampling_rate_hz: float) -> int:
    """Samples in a window.

    Raises:
        InputError: the window is not a whole, positive number of samples.
    """
    exact = window_s * sampling_rate_hz
    if not math.isfinite(exact) or round(exact) < 1 or abs(exact - round(exact)) > _SLACK:
        raise InputError(
            f"A window of {window_s:g} s at {sampling_rate_hz:g} Hz is {exact:g} samples. "
            "Choose window_s so that it is a whole, positive number."
        )
    return round(exact)


def _start(index: int, sampling_rate_hz: float, step_s: float) -> int:
    return round(index * step_s * sampling_rate_hz)


def count_windows(
    num_samples: int, sampling_rate_hz: float, window_s: float, step_s: float
) -> int:
    """How many windows fit wholly into a signal; 0 where it is shorter than one.

    Raises:
        InputError: a step of less than one sample; see `samples_per_window`.
    """
    length = samples_per_window(window_s, sampling_rate_hz)
    step = step_s * sampling_rate_hz  # may be a fraction; starts are rounded
    if not math.isfinite(step) or step < 1 - _SLACK:
        raise InputError(
            f"A step of {step_s:g} s at {sampling_rate_hz:g} Hz is less than one sample. "
            "Choose a larger step_s."
        )
    if num_samples < length:
        return 0
    count = math.floor((num_samples - length) / step + _SLACK) + 1
    # Rounding to the nearest sample may carry the last window over the end.
    while _start(count - 1, sampling_rate_hz, step_s) + length > num_samples:
        count -= 1
    return count


def cut(
    signal: np.ndarray, sampling_rate_hz: float, window_s: float, step_s: float
) -> np.ndarray:
    """All whole windows of a signal.

    Args:
        signal: (leads, samples).
        sampling_rate_hz: of the signal.
        window_s, step_s: length and distance of windows in seconds.

    Returns:
        (windows, leads, samples per window), a copy; no windows where the signal is too short.
    """
    count = count_windows(signal.shape[-1], sampling_rate_hz, window_s, step_s)
    length = samples_per_window(window_s, sampling_rate_hz)
    starts = [_start(i, sampling_rate_hz, step_s) for i in range(count)]
    if not starts:
        return np.empty((0, signal.shape[0], length), signal.dtype)
    return np.stack([signal[:, start : start + length] for start in starts])


def cut_together(
    signals: dict[str, tuple[np.ndarray, float]],
    window_s: float,
    step_s: float,
    *,
    name: str,
    start_s: float = 0.0,
    stop_s: float | None = None,
) -> dict[str, np.ndarray]:
    """Windows of simultaneous signals, as many as fit into all of them.

    Args:
        signals: modality -> ((leads, samples), sampling rate in Hz), all starting at time 0.
        window_s, step_s: length and distance of windows in seconds.
        name: the recording, for messages.
        start_s, stop_s: part of the recording to cut, in seconds; stop_s None for its end.

    Returns:
        modality -> (windows, leads, samples per window), equally many windows each.

    Raises:
        InputError: the durations differ by more than two samples of the slowest signal (each
            resampling step may drop part of one); no window fits; the part is not in the recording.
    """
    durations = {key: signal.shape[-1] / rate for key, (signal, rate) in signals.items()}
    slowest_hz = min(rate for _, rate in signals.values())
    check_durations(durations, name, tolerance_s=2 / slowest_hz)
    shortest_s = min(durations.values())
    stop_s = shortest_s if stop_s is None else stop_s
    if not 0 <= start_s < stop_s or stop_s > shortest_s + 2 / slowest_hz:
        raise InputError(
            f"{name}: seconds {start_s:g} to {stop_s:g} are not within its {shortest_s:.3f} s. "
            "Choose a part of the recording."
        )
    parts = {
        key: (signal[:, round(start_s * rate) : round(stop_s * rate)], rate)
        for key, (signal, rate) in signals.items()
    }
    cuts = {key: cut(signal, rate, window_s, step_s) for key, (signal, rate) in parts.items()}
    count = min(len(windows) for windows in cuts.values())
    if count == 0:
        raise InputError(
            f"{name}: no window of {window_s:g} s fits into {min(shortest_s, stop_s) - start_s:.3f} "
            "s. Choose a smaller window_s or leave the recording out."
        )
    return {key: windows[:count] for key, windows in cuts.items()}
