"""Several files of one recording on one time axis; what they do not share is left out."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxbridge.data.recordings.contents import Start
from model_ports.errors import InputError


class Span(NamedTuple):
    """What one file covers.

    Attributes:
        start: as the file states it, or None.
        duration_s: of its leads.
        rates: what the duration rests on, for messages ("15000 samples at 250 Hz").
    """

    start: Start | None
    duration_s: float
    rates: str


class Overlap(NamedTuple):
    """The time that all files cover.

    Attributes:
        offsets_s: file -> where the overlap starts, from the file's first sample.
        duration_s: of the overlap.
        outside_s: file -> how much of it is not used.
    """

    offsets_s: Mapping[str, float]
    duration_s: float
    outside_s: Mapping[str, float]


def overlap(spans: Mapping[str, Span], align: str | None, tolerance_s: float, name: str) -> Overlap:
    """Finds what files share.

    Args:
        spans: by file group.
        align: 'start_time' or 'sample_zero'; None for a single file.
        tolerance_s: 'sample_zero': the largest difference of durations, beyond which clocks drift or
            the files do not belong together.
        name: the recording, for messages.

    Raises:
        InputError: a start that is not stated, or on another clock; files without common time;
            durations that differ by more than the tolerance.
    """
    if align == "start_time" and len(spans) > 1:
        begins = _begins(spans, name)
    else:
        begins = dict.fromkeys(spans, 0.0)
        if len(spans) > 1:
            _check_drift(spans, tolerance_s, name)
    start = max(begins.values())
    stop = min(begins[group] + span.duration_s for group, span in spans.items())
    if stop <= start:
        origin = min(begins.values())
        listed = ", ".join(
            f"{group} {begins[group] - origin:.3f} to {begins[group] - origin + span.duration_s:.3f} s"
            for group, span in spans.items()
        )
        raise InputError(
            f"{name}: its files have no time in common ({listed}). Check their start times, use "
            "align: sample_zero if they began together, or leave the recording out."
        )
    return Overlap(
        {group: start - begins[group] for group in spans}, stop - start,
        {group: span.duration_s - (stop - start) for group, span in spans.items()},
    )


def _begins(spans: Mapping[str, Span], name: str) -> dict[str, float]:
    for group, span in spans.items():
        if span.start is None:
            raise InputError(
                f"{name}: files.{group} does not state when it starts. Use align: sample_zero if all "
                "files began together, or give a table a time_column."
            )
    clocks = {span.start.clock for span in spans.values()}
    if len(clocks) > 1:
        listed = ", ".join(f"{group} by {span.start.clock}" for group, span in spans.items())
        raise InputError(
            f"{name}: start times are on different clocks ({listed}). Give the time column as dates "
            "(time_unit: date), or use align: sample_zero."
        )
    offsets = {group: span.start.utc_offset_s for group, span in spans.items()}
    if None not in offsets.values():
        return {group: span.start.seconds - offsets[group] for group, span in spans.items()}
    stated = {group: offset for group, offset in offsets.items() if offset is not None}
    if len(set(stated.values())) > 1:
        listed = ", ".join(f"{group} {offset / 3600:+g} h" for group, offset in stated.items())
        unknown = next(group for group, offset in offsets.items() if offset is None)
        raise InputError(
            f"{name}: files state local times of different zones (from UTC: {listed}), files.{unknown} "
            "none, so it is not known when that one starts. Write all times in one zone."
        )
    return {group: span.start.seconds for group, span in spans.items()}


def _check_drift(spans: Mapping[str, Span], tolerance_s: float, name: str) -> None:
    longest = max(spans, key=lambda group: spans[group].duration_s)
    shortest = min(spans, key=lambda group: spans[group].duration_s)
    long_s, short_s = spans[longest].duration_s, spans[shortest].duration_s
    if long_s - short_s > tolerance_s * (1 + 1e-9):
        raise InputError(
            f"{name}: {longest} lasts {long_s:.3f} s ({spans[longest].rates}), {shortest} "
            f"{short_s:.3f} s ({spans[shortest].rates}): more than tolerance_s {tolerance_s:g} apart. "
            f"If both began and ended together, the rate of {shortest} is {short_s / long_s:.6f} times "
            "the stated one: correct sampling_rate_hz. If they ended apart, align by start_time, or "
            "state a larger tolerance_s and only what they share is used."
        )
