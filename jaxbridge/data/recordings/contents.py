"""What a file of signals holds, whatever its format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Lead:
    """One signal of a file, as the file describes it.

    Attributes:
        name: as written.
        sampling_rate_hz: None where the file does not state it.
        unit: as written but for 'uV'; None where the file does not state it.
        num_samples: length.
        inverted: the gain is negative (WFDB), or the physical minimum lies above the maximum (EDF).
            The samples are physical values, so the sign of the gain is applied already.
    """

    name: str
    sampling_rate_hz: float | None
    unit: str | None
    num_samples: int
    inverted: bool = False


class Interval(NamedTuple):
    """A labelled stretch of time, in seconds from the first sample of the file it belongs to."""

    onset_s: float
    duration_s: float
    label: str


@dataclass(frozen=True)
class Start:
    """When the first sample was taken.

    Attributes:
        seconds: on the clock.
        clock: 'date' (seconds since 1970, the file's local time read as UTC) or 'column' (a time
            column, whose zero is unknown). Times on different clocks cannot be compared.
        utc_offset_s: by how much the file says that its local time is ahead of UTC; None where it
            does not say.
    """

    seconds: float
    clock: Literal["date", "column"]
    utc_offset_s: float | None = None


@dataclass(frozen=True, eq=False)
class Contents:
    """A file of signals, opened: leads are known, samples are read by `load`.

    Attributes:
        path: the file.
        leads: in the file's order. All start at the same moment.
        load: (indices of leads) -> one (samples,) float64 array each, in the lead's unit; NaN where
            the file marks a sample as missing.
        start: None where the file does not tell.
        annotations: that the file itself holds.
        times_s: (samples,) time of each sample from the first one's, where the file has a time
            column; its rows need not be complete, see `timestamps.to_grid`.
        remarks: what a person should know, for `launch.inspect`.
    """

    path: Path
    leads: tuple[Lead, ...]
    load: Callable[[Sequence[int]], list[np.ndarray]]
    start: Start | None = None
    annotations: tuple[Interval, ...] = ()
    times_s: np.ndarray | None = None
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(lead.name for lead in self.leads)


MICROVOLT_SPELLINGS = ("uV", "\u00b5V", "\u03bcV", "\x83\xcaV", "microV", "uv")


def plain_unit(unit: str | None) -> str | None:
    """Spells microvolts 'uV'; an empty unit is None."""
    unit = (unit or "").strip()
    return "uV" if unit in MICROVOLT_SPELLINGS else unit or None
