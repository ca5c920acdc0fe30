"""One modality of one recording: its leads found, read, and brought to its encoder's rate."""

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.data import preprocess
from jaxbridge.data.leads import pick
from jaxbridge.data.recipes import prepare
from jaxbridge.data.recording import Recording, check_sampling_rate
from jaxbridge.data.recordings import timestamps, twelve_leads
from jaxbridge.data.recordings.contents import Contents
from jaxbridge.data.recordings.description import Gaps, Modality
from jaxbridge.data.recordings.gaps import Filled, fill
from model_ports.errors import InputError

# Relative difference of rates that stand for the same one, as written with six digits.
_SAME_RATE = 1e-6


class Found(NamedTuple):
    """A modality's leads in an opened file.

    Attributes:
        indices: into the file's leads.
        names: of the leads in the result.
        sampling_rate_hz, units: as the file or else the description states them.
        places: index of each sample on the regular grid, where the file has a time column.
        num_samples: length on the regular grid.
        inverted: names in the file of leads with a negative gain.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    sampling_rate_hz: float
    units: tuple[str, ...]
    places: np.ndarray | None
    num_samples: int
    inverted: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sampling_rate_hz


class Prepared(NamedTuple):
    """A modality at its encoder's rate.

    Attributes:
        signal: (leads, samples) float64 from `recipes.prepare`, leads placed as the encoder takes
            them.
        holes_s: (n, 2) stretches that no window may touch, in seconds.
        filled: see `gaps.fill`.
    """

    signal: np.ndarray
    holes_s: np.ndarray
    filled: Filled


def expand(leads: Sequence[tuple[str, str]], available: Sequence[str]) -> list[tuple[str, str]]:
    """Replaces patterns ('EEG *') by all names of a file that match, in the file's order."""
    result = []
    for new, old in leads:
        if old in available or not ("*" in old or "?" in old):
            result.append((new, old))
            continue
        pattern = old.replace("[", "[[]")
        matching = [name for name in available if fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            raise InputError(f"no lead matches {old!r}. It has: {', '.join(available)}.")
        result += [(name, name) for name in matching]
    return result


def find(contents: Contents, modality: Modality, where: str, tolerance_s: float) -> Found:
    """Finds leads, rate and unit.

    Args:
        contents: the file.
        modality: with leads, and what the description states.
        where: the modality in the description, for messages.
        tolerance_s: see `timestamps.to_grid`.

    Raises:
        InputError: a lead that is missing; leads of different rates or lengths; a rate or unit that
            is stated nowhere, or contradicts the file; a rate that is not positive.
    """
    path = contents.path
    try:
        pairs = expand(modality.leads, contents.names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    indices = pick(contents.names, [old for _, old in pairs], name=str(path))
    leads = [contents.leads[i] for i in indices]
    rates = {lead.name: lead.sampling_rate_hz for lead in leads}
    for name, rate in rates.items():
        if rate is not None:
            check_sampling_rate(rate, f"{path}: lead {name!r}")
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {rate:g} Hz" for name, rate in rates.items())
        raise InputError(
            f"{path}: the leads of {where} have different sampling rates ({listed}). Make a modality "
            "of each rate."
        )
    if len({lead.num_samples for lead in leads}) > 1:
        listed = ", ".join(f"{lead.name} {lead.num_samples}" for lead in leads)
        raise InputError(
            f"{path}: the leads of {where} have different numbers of samples ({listed}), so they are "
            "not simultaneous. Cut them to their common part, or make a modality of each."
        )
    rate, stated = leads[0].sampling_rate_hz, modality.sampling_rate_hz
    if rate is None and stated is None:
        hint = ""
        if contents.times_s is not None and (implied := timestamps.implied_rate_hz(contents.times_s)):
            hint = f" (the time column implies {implied:.6g} Hz)"
        raise InputError(
            f"{path} does not state the sampling rate of lead {leads[0].name!r}{hint}. State "
            f"{where}.sampling_rate_hz."
        )
    if rate is not None and stated is not None and abs(stated / rate - 1) > _SAME_RATE:
        raise InputError(
            f"{path}: lead {leads[0].name!r} is at {rate:.9g} Hz, {where}.sampling_rate_hz says "
            f"{stated:.9g}. Remove it, or correct the file."
        )
    rate = float(stated if rate is None else rate)
    places, num_samples = None, leads[0].num_samples
    if contents.times_s is not None:
        places = timestamps.to_grid(contents.times_s, rate, tolerance_s, str(path))
        num_samples = int(places[-1]) + 1
    return Found(
        tuple(indices), tuple(new for new, _ in pairs), rate, _units(contents, leads, modality, where),
        places, num_samples, tuple(lead.name for lead in leads if lead.inverted),
    )


def _units(contents, leads, modality, where) -> tuple[str, ...]:
    stated = modality.unit
    for lead in leads:
        if lead.unit is None and stated is None:
            raise InputError(
                f"{contents.path} does not state the unit of lead {lead.name!r}. State {where}.unit: "
                "uV, mV or V, or a.u. where it is not known (which an encoder of voltages refuses)."
            )
        if lead.unit is not None and stated is not None and stated != lead.unit:
            raise InputError(
                f"{contents.path}: lead {lead.name!r} is in {lead.unit}, {where}.unit says {stated}. "
                "Remove it, or correct the file."
            )
    return tuple(lead.unit or stated for lead in leads)


def read(
    contents: Contents, found: Found, modality: Modality, gaps: Gaps, subject: str, offset_s: float,
    duration_s: float,
) -> Prepared:
    """Reads and prepares `duration_s` from `offset_s` of the file.

    Raises:
        InputError: see `gaps.fill`, `recipes.prepare` and `twelve_leads.rows`.
    """
    rate, name = found.sampling_rate_hz, str(contents.path)
    rows = contents.load(found.indices)
    if found.places is not None:
        whole = np.full((len(rows), found.num_samples), np.nan)
        whole[:, found.places] = rows
        rows = whole
    first = round(offset_s * rate)
    # The rounding of a duration that is a quotient must not cost a sample.
    signal = np.stack(rows)[:, first : first + int(duration_s * rate + 1e-6)]
    filled = fill(signal, rate, found.names, gaps, name)
    recipe = modality.recipe
    z_later = len(filled.holes) and recipe.normalise == "recording"
    recording = Recording(filled.signal, rate, found.names, found.units, name, subject)
    prepared = prepare(
        recording, dataclasses.replace(recipe, normalise="none") if z_later else recipe
    )
    if z_later:
        prepared = _zscore_outside(prepared, filled.holes / rate * recipe.sampling_rate_hz)
    rows = twelve_leads.rows(modality, found.names, name)[1]
    prepared = np.where(rows[:, None] < 0, 0.0, prepared[rows])
    return Prepared(prepared, filled.holes / rate, filled)


def _zscore_outside(signal: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Z-score by the samples outside of (n, 2) holes, given in samples."""
    good = np.ones(signal.shape[1], bool)
    for start, stop in holes:
        good[int(np.floor(start)) : int(np.ceil(stop))] = False
    mean = signal[:, good].mean(axis=1, keepdims=True)
    std = signal[:, good].std(axis=1, keepdims=True)
    if not (std > 0).all():
        return preprocess.zscore(signal)
    return (signal - mean) / std
