"""Windows of every lead of a file, each lead by itself at its own rate."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbridge.data.recording import check_sampling_rate
from jaxbridge.data.recordings import gaps
from jaxbridge.data.recordings.description import Gaps
from jaxbridge.data.recordings.opening import format_of, open_file
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.windows import cut
from model_ports.errors import InputError


class LeadWindows(NamedTuple):
    """What one lead holds.

    Attributes:
        lead: its name in the file.
        signals: (windows, samples) float64, in the file's unit.
        start_s: (windows,) start of each in seconds from the start of the file.
    """

    lead: str
    signals: np.ndarray
    start_s: np.ndarray


def recording_files(folder: Path) -> list[Path]:
    """Returns the files of a folder and those below that hold signals by their names, sorted.

    Raises:
        InputError: no folder, or no such file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one with recordings.")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _known(path)]
    headers = {path.with_suffix("") for path in found if path.suffix == ".hea"}
    # a .mat beside a WFDB header holds that record's samples
    found = [p for p in found if p.suffix == ".hea" or p.with_suffix("") not in headers]
    if not found:
        raise InputError(
            f"{folder} holds no recordings (EDF, WFDB with .hea, MAT, HDF5, NPZ, CSV, TSV, TXT)."
        )
    return found


def _known(path: Path) -> bool:
    try:
        format_of(path, FileOptions())
    except InputError:
        return False
    return True


def lead_windows(
    path: Path, window_s: float, step_s: float, *, leads: tuple[str, ...] = (),
    sampling_rate_hz: float | None = None, rule: Gaps,
) -> Iterator[LeadWindows]:
    """Yields the windows of every lead, one lead in memory at a time.

    Args:
        path: a file of `recording_files`.
        window_s, step_s: length (to the nearest sample) and distance of windows.
        leads: names of the leads to read; all if empty.
        sampling_rate_hz: for leads whose rate the file does not state.
        rule: what becomes of NaN; windows that touch a longer gap are left out or refused.

    Raises:
        InputError: a damaged file, a lead that is not there or too short for a window, a rate that
            neither the file nor the caller states, or that is not positive, or NaN against the rule.
    """
    contents = open_file(path)
    if absent := sorted(set(leads) - set(contents.names)):
        raise InputError(
            f"{path} has no lead {', '.join(absent)}; it has {', '.join(contents.names)}."
        )
    for i, lead in enumerate(contents.leads):
        if leads and lead.name not in leads:
            continue
        rate = lead.sampling_rate_hz or sampling_rate_hz
        if rate is None:
            raise InputError(
                f"{path} does not state the sampling rate of {lead.name!r}; give sampling_rate_hz."
            )
        check_sampling_rate(rate, f"{path}: lead {lead.name!r}")
        filled = gaps.fill(contents.load([i])[0][None], rate, (lead.name,), rule, str(path))
        length_s = max(1, round(window_s * rate)) / rate
        signals = cut(filled.signal, rate, length_s, step_s)[:, 0]
        if not len(signals):
            raise InputError(
                f"{path}: lead {lead.name!r} has {lead.num_samples / rate:.3f} s, too few for a "
                f"window of {window_s:g} s; choose a smaller one or leave the file out."
            )
        start_s = np.arange(len(signals)) * step_s
        kept = ~gaps.touching(start_s, length_s, filled.holes / rate)
        yield LeadWindows(lead.name, signals[kept], start_s[kept])
