"""Rows with a time each, onto a regular grid."""

import numpy as np

from model_ports.errors import InputError


def implied_rate_hz(times_s: np.ndarray) -> float | None:
    """Samples per second, from the steps that are no gap (at most 1.5 times the median step)."""
    steps = np.diff(times_s)
    if not steps.size:
        return None
    regular = steps[steps <= 1.5 * np.median(steps)]
    return float(len(regular) / regular.sum())


def to_grid(times_s: np.ndarray, sampling_rate_hz: float, tolerance_s: float, where: str) -> np.ndarray:
    """Places of rows on the grid k / sampling_rate_hz; places without a row are gaps.

    Args:
        times_s: (rows,) rising, from 0.
        sampling_rate_hz: stated rate.
        tolerance_s: how far rows may drift from the stated rate between two gaps.
        where: file, for messages.

    Returns:
        (rows,) rising indices.

    Raises:
        InputError: the times imply another rate; two rows in one place.
    """
    implied = implied_rate_hz(times_s)
    rows = len(times_s)
    drift_s = 0.0 if implied is None else rows / implied - rows / sampling_rate_hz
    if abs(drift_s) > tolerance_s:
        raise InputError(
            f"{where}: the time column implies {implied:.6g} Hz, {sampling_rate_hz:g} Hz are stated; "
            f"over {rows} rows that is a drift of {abs(drift_s):.3f} s, more than tolerance_s "
            f"{tolerance_s:g}. State sampling_rate_hz: {implied:.6g}, or a larger tolerance_s."
        )
    # Step by step, so that a small drift makes neither a hole nor a collision.
    steps = np.maximum(np.rint(np.diff(times_s) * sampling_rate_hz), 1).astype(np.int64)
    gaps = np.flatnonzero(steps > 1)
    places = np.concatenate([[0], np.cumsum(steps)])
    for gap in gaps:  # after a gap the clock decides
        shift = round(times_s[gap + 1] * sampling_rate_hz) - places[gap + 1]
        places[gap + 1 :] += max(shift, places[gap] + 1 - places[gap + 1])
    return places
