"""What a raw recording must be before an encoder's `prepare` works on it; host only."""

import math
import numbers
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from model_ports.errors import InputError
from model_ports.scaling import MICROVOLTS

UNITLESS = ("a.u.", "counts")
_SPELLINGS = {"\u00b5V": "uV", "\u03bcV": "uV"}


class Recording(NamedTuple):
    """A recording whose description holds together; its samples are not looked at yet.

    Attributes:
        signal: (batch, leads, samples).
        sampling_rate_hz: of all leads.
        leads: one name per lead, stripped.
        unit: of all samples, "V", "mV", "uV", "a.u." or "counts".
    """

    signal: np.ndarray
    sampling_rate_hz: float
    leads: tuple[str, ...]
    unit: str


def check_description(
    recording: np.ndarray | jax.Array,
    sampling_rate_hz: float | None,
    leads: Sequence[str] | None,
    unit: str | None,
    *,
    model: str,
    min_sampling_rate_hz: float,
    voltage: bool = False,
) -> Recording:
    """Refuses a recording whose shape, rate, lead names or unit are missing or do not fit.

    Args:
        recording: (batch, leads, samples), or (leads, samples) for a batch of one.
        sampling_rate_hz, leads, unit: as `Encoder.prepare` takes them.
        model: what messages call the encoder.
        min_sampling_rate_hz: slower recordings lack the model's band.
        voltage: the model needs volts, so that "a.u." and "counts" will not do.

    Raises:
        InputError: as above.
    """
    rate = sampling_rate_hz
    if not isinstance(rate, numbers.Real) or not math.isfinite(rate) or rate <= 0:
        raise InputError(
            f"{model}: sampling_rate_hz is {rate!r}; state the recording's true rate in Hz, "
            "a positive number."
        )
    if rate < min_sampling_rate_hz:
        raise InputError(
            f"{model}: sampling_rate_hz={rate:g} is too low; the model's band needs at least "
            f"{min_sampling_rate_hz:g} Hz. Check the stated rate or leave the recording out."
        )
    known = (*MICROVOLTS, *(() if voltage else UNITLESS))
    unit = _SPELLINGS.get(unit, unit) if isinstance(unit, str) else unit
    if unit not in known:
        why = ", since it reads voltages" if voltage and unit in UNITLESS else ""
        raise InputError(
            f"{model}: unit is {unit!r}; state the recording's unit, one of "
            f"{', '.join(map(repr, known))}{why}."
        )
    names = _lead_names(leads, model)
    signal = _array(recording, model)
    if signal.ndim == 2 and len(signal) == len(names):
        signal = signal[None]
    if signal.ndim != 3:
        raise InputError(
            f"{model}: the recording has shape {signal.shape}; give (batch, leads, samples), or "
            f"(leads, samples) with as many rows as lead names ({len(names)})."
        )
    if signal.shape[1] != len(names):
        raise InputError(
            f"{model}: {signal.shape[1]} leads in a recording of shape {signal.shape}, but "
            f"{len(names)} lead names ({', '.join(names)}); give one name per lead."
        )
    if not signal.size:
        raise InputError(f"{model}: the recording of shape {signal.shape} holds no samples.")
    return Recording(signal, float(rate), names, unit)


def _lead_names(leads: Sequence[str] | None, model: str) -> tuple[str, ...]:
    remedy = "give a sequence with one name per lead, such as leads=('F3', 'C3')"
    # a set would give its names in any order
    unordered = isinstance(leads, str | set | frozenset) or not hasattr(leads, "__len__")
    if unordered or not len(leads):
        raise InputError(f"{model}: leads is {leads!r}; {remedy}.")
    if bad := [name for name in leads if not isinstance(name, str) or not name.strip()]:
        raise InputError(f"{model}: {bad[0]!r} among leads is no name; {remedy}.")
    names = tuple(name.strip() for name in leads)
    upper = [name.upper() for name in names]
    if twice := sorted({name for name in names if upper.count(name.upper()) > 1}):
        raise InputError(f"{model}: lead {', '.join(twice)} is named twice; rename or drop one.")
    return names


def _array(recording: np.ndarray | jax.Array, model: str) -> np.ndarray:
    if isinstance(recording, jax.core.Tracer):
        raise InputError(
            f"{model}: prepare looks at the samples before it compiles anything; call it outside "
            "jit, vmap and grad, and its result inside."
        )
    signal = np.asarray(recording)
    if signal.dtype.kind not in "iuf":
        if not np.issubdtype(signal.dtype, np.number) or np.iscomplexobj(signal):
            raise InputError(
                f"{model}: the recording holds {signal.dtype}; give real numbers in an array."
            )
        signal = signal.astype(np.float32)  # bfloat16
    return signal


def check_samples(recording: Recording, model: str) -> None:
    """Refuses NaN or infinite samples and constant leads, naming the first of them.

    Raises:
        InputError: as above.
    """
    signal, rate = recording.signal, recording.sampling_rate_hz
    finite = np.isfinite(signal)
    if not finite.all():
        row, lead = np.argwhere(~finite.all(axis=-1))[0]
        bad = np.flatnonzero(~finite[row, lead])
        # End of the first unbroken run of bad samples.
        start, stop = bad[0], bad[np.argmax(np.append(np.diff(bad) > 1, True))]
        raise InputError(
            f"{model}: lead {recording.leads[lead]!r} of recording {row} has {bad.size} NaN or "
            f"infinite of {signal.shape[-1]} samples, the first at samples {start} to {stop} "
            f"({start / rate:.3f} to {(stop + 1) / rate:.3f} s). Cut the recording there, "
            "interpolate the gap, or leave the lead out."
        )
    low, high = (f(axis=-1).astype(np.float64) for f in (signal.min, signal.max))
    # A constant that went through arithmetic differs in its last bits.
    constant = high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
    if constant.any():
        row, lead = np.argwhere(constant)[0]
        raise InputError(
            f"{model}: lead {recording.leads[lead]!r} of recording {row} is constant at "
            f"{low[row, lead]:g}: a loose or unrecorded electrode. Leave the lead or the "
            "recording out."
        )
