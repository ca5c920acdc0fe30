"""A recording: one signal array with what is needed to read it right."""

import math
from dataclasses import dataclass

import numpy as np

from model_ports.errors import InputError


@dataclass(frozen=True, eq=False)
class Recording:
    """Simultaneous leads of one subject at one sampling rate.

    Attributes:
        signal: (leads, samples) floating point.
        sampling_rate_hz: samples per second of every lead.
        leads: one name per lead, no name twice.
        unit: one unit per lead; a single unit given stands for all leads.
        name: what messages call the recording, for instance its file name.
        subject: whose recording it is; splits keep a subject together.

    Raises:
        InputError: the parts do not fit each other.
    """

    signal: np.ndarray
    sampling_rate_hz: float
    leads: tuple[str, ...]
    unit: str | tuple[str, ...]
    name: str
    subject: str

    def __post_init__(self) -> None:
        unit = self.unit
        units = (unit,) * len(self.leads) if isinstance(unit, str) else tuple(unit)
        object.__setattr__(self, "unit", units)
        object.__setattr__(self, "leads", tuple(self.leads))
        if self.signal.ndim != 2 or not np.issubdtype(self.signal.dtype, np.floating):
            raise InputError(
                f"{self.name}: the signal must be floating point of shape (leads, samples), "
                f"not {self.signal.dtype} of shape {self.signal.shape}."
            )
        if not len(self.leads) == len(units) == self.signal.shape[0]:
            raise InputError(
                f"{self.name}: {self.signal.shape[0]} signal rows, {len(self.leads)} lead names "
                f"and {len(units)} units. Give one name and one unit per row."
            )
        twice = sorted({lead for lead in self.leads if self.leads.count(lead) > 1})
        if twice:
            raise InputError(
                f"{self.name}: lead name {', '.join(twice)} occurs twice. Rename one of them."
            )
        check_sampling_rate(self.sampling_rate_hz, self.name)

    @property
    def duration_s(self) -> float:
        return self.signal.shape[1] / self.sampling_rate_hz


def check_sampling_rate(sampling_rate_hz: float | None, name: str) -> None:
    """Raises `InputError` where a sampling rate is missing, not finite or not positive."""
    rate = sampling_rate_hz
    if rate is None or not math.isfinite(rate) or rate <= 0:
        raise InputError(
            f"{name}: sampling rate {rate} Hz. State the true rate in Hz, a positive number."
        )
