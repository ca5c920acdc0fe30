"""What a file of signals holds, as a table, and a description to start from."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix
from typing import NamedTuple

import numpy as np

from jaxbridge.data.recordings import timestamps
from jaxbridge.data.recordings.contents import Contents
from jaxbridge.data.recordings.description import LABEL_SOURCES
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.suitability import electrode, encoders_for, kind_of
from model_ports.errors import InputError

_MOST_LABELS = 12
_MOST_REMARKS = 5


class LeadSummary(NamedTuple):
    """One lead, looked at sample by sample.

    `missing` is the share of NaN or infinite samples, `low` and `high` are the extremes of the rest
    (NaN where there is none).
    """

    name: str
    sampling_rate_hz: float | None
    unit: str | None
    duration_s: float | None
    missing: float
    low: float
    high: float
    inverted: bool

    @property
    def constant(self) -> bool:
        return self.low == self.high


def summarise(contents: Contents) -> list[LeadSummary]:
    """Reads every lead, one at a time."""
    result = []
    for i, lead in enumerate(contents.leads):
        signal = _samples(contents, i)
        good = signal[np.isfinite(signal)]
        rate = lead.sampling_rate_hz
        duration = None
        if contents.times_s is not None:
            duration = float(contents.times_s[-1])
        elif rate:
            duration = lead.num_samples / rate
        result.append(LeadSummary(
            lead.name, rate, lead.unit, duration,
            1 - len(good) / len(signal) if len(signal) else 0.0,
            float(good.min()) if len(good) else np.nan, float(good.max()) if len(good) else np.nan,
            lead.inverted,
        ))
    return result


def _samples(contents: Contents, index: int) -> np.ndarray:
    """A lead's samples; none where two of its name cannot be told apart (EDF), which costs no other."""
    try:
        return contents.load([index])[0]
    except InputError:
        if contents.names.count(contents.names[index]) == 1:
            raise
        return np.empty(0)


def table(contents: Contents, leads: Sequence[LeadSummary]) -> str:
    """Leads, rates, units, durations, NaN, remarks and encoders, as text."""
    lines = [f"{contents.path}: {len(leads)} leads"]
    if contents.start is None:
        lines.append("start: not stated (align: sample_zero)")
    elif contents.start.clock == "column":
        lines.append(f"start: {contents.start.seconds:g} s by its time column")
    else:
        moment = datetime.datetime.fromtimestamp(contents.start.seconds, datetime.UTC)
        lines.append(f"start: {moment:%Y-%m-%d %H:%M:%S}")
    if contents.times_s is not None:
        implied = timestamps.implied_rate_hz(contents.times_s)
        if implied is not None:
            lines.append(f"the time column implies {implied:.6g} Hz")
    rows = [("lead", "Hz", "unit", "s", "NaN %", "range", "kind", "encoders", "remarks")]
    for lead in leads:
        remarks = ["constant"] if lead.constant else []
        if contents.names.count(lead.name) > 1:
            remarks.append("not the only one of its name")
        elif np.isnan(lead.low):
            remarks.append("no samples")
        remarks += ["negative gain"] if lead.inverted else []
        rows.append((
            lead.name, _number(lead.sampling_rate_hz), lead.unit or "?",
            _number(lead.duration_s, ".3f"), f"{100 * lead.missing:.3g}",
            f"{lead.low:.4g} .. {lead.high:.4g}", kind_of(lead.name) or "?",
            ", ".join(encoders_for(lead.name, lead.sampling_rate_hz)) or "none",
            ", ".join(remarks),
        ))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines += [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if contents.annotations:
        counts = Counter(note.label for note in contents.annotations)
        listed = ", ".join(f"{label!r} x{n}" for label, n in counts.most_common(_MOST_LABELS))
        more = f" and {len(counts) - _MOST_LABELS} more" if len(counts) > _MOST_LABELS else ""
        lines.append(f"annotations: {len(contents.annotations)} ({listed}{more})")
    lines += [f"remark: {remark}" for remark in contents.remarks[:_MOST_REMARKS]]
    if len(contents.remarks) > _MOST_REMARKS:
        lines.append(f"({len(contents.remarks) - _MOST_REMARKS} more remarks in the file)")
    return "\n".join(lines)


def _number(value: float | None, form: str = ".9g") -> str:
    return "?" if value is None else format(value, form)


def skeleton(files: Sequence[tuple[Contents, FileOptions]]) -> str:
    """A YAML description of recordings like these, one file of each kind; '?' is to be filled in."""
    names = [contents.path.name for contents, _ in files]
    prefix = commonprefix([contents.path.stem for contents, _ in files])
    if len(files) > 1:  # P01_eeg and P01_ecg begin alike beyond the separator
        prefix = re.sub(r"[^\W_]*$", "", prefix).rstrip("_-. ")
    groups = {}
    for i, (contents, options) in enumerate(files):
        stem = contents.path.stem
        rest = stem[len(prefix):] if prefix else ""
        group = re.sub(r"\W+", "_", rest.strip("_-. ")) or contents.path.suffix[1:]
        group = f"file_{group}" if group[0].isdigit() else group  # YAML has numbers of its own
        groups[f"{group}{i}" if group in groups else group] = (
            f"{{subject}}{names[i][len(prefix):]}" if prefix else "{subject}" + contents.path.suffix,
            contents, options,
        )
    lines = [
        "# A description to start from. Every key: the module jaxbridge.data.recordings.description.",
        "name: my_recordings",
        f"folder: {_quoted(str(files[0][0].path.resolve().parent))}",
        "files:  # {subject} and other {fields} are parts of names, * and ? are free",
    ]
    for group, (pattern, _, options) in groups.items():
        lines.append(f"  {group}: {_file(pattern, options)}")
    if len(groups) > 1:
        timed = all(contents.start is not None for _, contents, _ in groups.values())
        chosen, other = ("start_time", "sample_zero")[:: 1 if timed else -1]
        lines.append(f"align: {chosen}  # or {other}")
    lines.append("modalities:")
    taken: set[str] = set()
    for group, (_, contents, _) in groups.items():
        lines += _modalities(group, contents, taken, several=len(groups) > 1)
    lines += [
        "windows: {window_s: 10, step_s: 10}",
        "gaps: {interpolate_up_to_s: 0.0, longer: refuse}  # or drop: windows that touch them",
    ]
    notes = [c for _, c, _ in groups.values() if any(n.duration_s > 0 for n in c.annotations)]
    if notes:
        found = sorted({note.label for note in notes[0].annotations})
        lines += [
            f"classes: [{', '.join(map(_quoted, found))}]",
            "labels:",
            "  from: annotations",
            f"  map: {{{', '.join(f'{_quoted(n)}: {_quoted(n)}' for n in found)}}}  # label: class",
        ]
    else:
        lines.append(f"labels: {{from: none}}  # or {', '.join(LABEL_SOURCES[:-1])}")
    return "\n".join(lines) + "\n"


def _file(pattern: str, options: FileOptions) -> str:
    default = FileOptions()
    stated = {
        name: getattr(options, name) for name in default.__dataclass_fields__
        if getattr(options, name) != getattr(default, name)
    }
    if not stated:
        return _quoted(pattern)
    parts = [f"pattern: {_quoted(pattern)}"]
    parts += [
        f"{name}: [{', '.join(map(_quoted, value))}]" if isinstance(value, tuple)
        else f"{name}: {_quoted(value)}" for name, value in stated.items()
    ]
    return f"{{{', '.join(parts)}}}"


def _modalities(group: str, contents: Contents, taken: set[str], *, several: bool) -> list[str]:
    """Lines for the modalities of one file; their names differ from those `taken`, and join them."""
    by_kind: dict[tuple[str, float | None], list] = {}
    for lead in contents.leads:
        if encoders_for(lead.name, lead.sampling_rate_hz):
            by_kind.setdefault((kind_of(lead.name), lead.sampling_rate_hz), []).append(lead)
    lines = []
    for (kind, rate), leads in by_kind.items():
        encoders = encoders_for(leads[0].name, rate)
        unit = leads[0].unit
        if kind == "EEG":
            chosen = _electrodes([lead.name for lead in leads])
        else:
            chosen = f"[{_quoted(leads[0].name)}]"
            if len(leads) > 1:
                chosen += f"  # also: {', '.join(lead.name for lead in leads[1:])}"
        name = kind.lower()
        for more in (group, "unknown_rate" if rate is None else f"{rate:g}hz"):
            name = f"{name}_{more}" if name in taken else name
        taken.add(name)
        lines += [f"  {name}:", *([f"    file: {group}"] if several else []), f"    leads: {chosen}"]
        others = f"  # or {', '.join(encoders[1:])}" if len(encoders) > 1 else ""
        lines.append(f"    encoder: {encoders[0]}{others}")
        if rate is None:
            lines.append("    sampling_rate_hz: '?'  # the file does not state it")
        if unit is None:
            lines.append("    unit: '?'  # the file does not state it: uV, mV, V or a.u.")
    if not lines:
        lines.append(
            f"  # no lead of {contents.path.name} says by its name and rate which encoder it suits: "
            f"{', '.join(contents.names)}"
        )
    return lines


def _electrodes(names: Sequence[str]) -> str:
    """Electrode -> name in the file; of two leads of one electrode the first."""
    by_electrode: dict[str, str] = {}
    rest = []
    for name in names:
        found = electrode(name)
        if found is None or found in by_electrode:
            rest.append(name)
        else:
            by_electrode[found] = name
    if not by_electrode:
        return f"[{', '.join(map(_quoted, rest))}]  # no electrode is known: give {{electrode: name}}"
    pairs = ", ".join(f"{_quoted(new)}: {_quoted(old)}" for new, old in by_electrode.items())
    also = f"; also: {', '.join(rest)}" if rest else ""
    return f"{{{pairs}}}  # electrode: name in the file{also}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
