"""Gaps: runs of NaN or infinite samples, filled up to a stated length, or known for what follows."""

from typing import NamedTuple

import numpy as np

from jaxbridge.data.recordings.description import Gaps
from model_ports.errors import InputError


class Filled(NamedTuple):
    """A signal without NaN.

    Attributes:
        signal: (leads, samples); longer gaps are bridged by a line too, so that filters can run.
        holes: (n, 2) first and last + 1 sample of the longer gaps of any lead: no window may touch
            them.
        interpolated: samples filled in short gaps, per lead.
        missing: samples in longer gaps, per lead.
    """

    signal: np.ndarray
    holes: np.ndarray
    interpolated: tuple[int, ...]
    missing: tuple[int, ...]


def runs(bad: np.ndarray) -> np.ndarray:
    """(n, 2) first and last + 1 index of each run of True in (samples,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def fill(
    signal: np.ndarray, sampling_rate_hz: float, leads: tuple[str, ...], rule: Gaps, name: str
) -> Filled:
    """Applies the rule to (leads, samples).

    A gap at the beginning or the end has no samples on both sides, so it counts as a longer one.

    Raises:
        InputError: a longer gap where the rule refuses it; a lead without a sample.
    """
    signal = np.array(signal, np.float64)
    samples = signal.shape[1]
    holes, interpolated, missing = [], [], []
    for lead, row in zip(leads, signal, strict=True):
        bad = ~np.isfinite(row)
        if bad.all():
            raise InputError(
                f"{name}: lead {lead!r} has no sample (0 to {samples - 1} are NaN). Leave the lead or "
                "the recording out."
            )
        found = runs(bad)
        inside = (found[:, 0] > 0) & (found[:, 1] < samples)
        lengths_s = (found[:, 1] - found[:, 0]) / sampling_rate_hz
        short = inside & (lengths_s <= rule.interpolate_up_to_s * (1 + 1e-9))
        long = found[~short]
        if len(long) and rule.longer == "refuse":
            start, stop = long[0]
            raise InputError(
                f"{name}: lead {lead!r} has {int(bad.sum())} NaN or infinite of {samples} samples; the "
                f"gap at samples {start} to {stop - 1} ({start / sampling_rate_hz:.3f} to "
                f"{stop / sampling_rate_hz:.3f} s) is longer than may be interpolated "
                f"({rule.interpolate_up_to_s:g} s, with samples on both sides). State a rule, for "
                "instance gaps: {interpolate_up_to_s: 0.05, longer: drop}, which drops the windows "
                "that touch a longer gap; or leave the lead out."
            )
        good = np.flatnonzero(~bad)
        row[bad] = np.interp(np.flatnonzero(bad), good, row[good])
        holes.append(long)
        interpolated.append(int((found[short, 1] - found[short, 0]).sum()))
        missing.append(int((long[:, 1] - long[:, 0]).sum()))
    return Filled(signal, np.concatenate(holes), tuple(interpolated), tuple(missing))


def touching(
    starts_s: np.ndarray, window_s: float, holes_s: np.ndarray
) -> np.ndarray:
    """(windows,) whether [start, start + window_s) meets one of the (n, 2) holes, in seconds."""
    if not len(holes_s):
        return np.zeros(len(starts_s), bool)
    return (
        (starts_s[:, None] < holes_s[:, 1]) & (starts_s[:, None] + window_s > holes_s[:, 0])
    ).any(axis=1)
