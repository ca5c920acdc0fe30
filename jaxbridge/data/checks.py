"""What a signal must be before it is preprocessed: finite, not flat, rightly timed."""

from collections.abc import Sequence

import numpy as np

from jaxbridge.data.recording import check_sampling_rate
from model_ports.errors import InputError


def check_signal(
    signal: np.ndarray, sampling_rate_hz: float | None, leads: Sequence[str], name: str
) -> None:
    """Refuses a signal that no preprocessing can make sense of.

    Args:
        signal: (leads, samples).
        sampling_rate_hz: samples per second.
        leads: one name per row.
        name: the recording, for the message.

    Raises:
        InputError: missing or impossible sampling rate; no samples; a NaN or infinite sample; a
            lead that is constant from the first sample to the last.
    """
    check_sampling_rate(sampling_rate_hz, name)
    num_samples = signal.shape[1]
    if num_samples == 0:
        raise InputError(f"{name}: no samples. Leave the recording out.")
    for lead, row in zip(leads, signal, strict=True):
        low, high = row.min(), row.max()  # NaN where there is one
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = np.flatnonzero(~np.isfinite(row))
            # End of the first unbroken run of bad samples.
            run = bad[: np.argmax(np.append(np.diff(bad) > 1, True)) + 1]
            start, stop = int(run[0]), int(run[-1])
            raise InputError(
                f"{name}: lead {lead!r} has {bad.size} NaN or infinite of {num_samples} samples, "
                f"the first at samples {start} to {stop} ({start / sampling_rate_hz:.3f} to "
                f"{(stop + 1) / sampling_rate_hz:.3f} s). Cut the recording there, interpolate the "
                "gap, or leave the lead or the recording out."
            )
        if low == high:
            raise InputError(
                f"{name}: lead {lead!r} is constant at {row[0]:g} over samples 0 to "
                f"{num_samples - 1}: a loose or unrecorded electrode. Leave the lead or the "
                "recording out."
            )


def check_durations(
    durations_s: dict[str, float], name: str, *, tolerance_s: float
) -> None:
    """Refuses simultaneous signals of different duration.

    Args:
        durations_s: seconds per signal name.
        name: the recording, for the message.
        tolerance_s: the largest difference allowed, usually one sample of the slowest signal.

    Raises:
        InputError: the longest exceeds the shortest by more than the tolerance.
    """
    if max(durations_s.values()) - min(durations_s.values()) > tolerance_s * (1 + 1e-9):
        listed = ", ".join(f"{signal} {length:.3f} s" for signal, length in durations_s.items())
        raise InputError(
            f"{name}: the signals differ in duration ({listed}), so their samples may not be "
            "simultaneous. Check start times and sampling rates; cut them to their common part."
        )
