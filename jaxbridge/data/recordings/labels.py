"""Labelled intervals from any source, and the class of a window."""

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxbridge.data.recordings.contents import Contents, Interval, Start
from jaxbridge.data.recordings.description import Description, Labels
from jaxbridge.data.recordings.edf import read_annotations
from jaxbridge.data.recordings.opening import format_of, open_file
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.patterns import Files
from jaxbridge.data.recordings.table import column, read_table
from jaxbridge.data.recordings.wfdb_record import read_annotator
from model_ports.errors import InputError

# Windows and intervals that meet but for rounding.
_SLACK_S = 1e-6


def read_intervals(
    description: Description, files: Files, contents: Contents, rate_hz: float, num_samples: int
) -> tuple[tuple[Interval, ...], Start | None]:
    """The labelled intervals of a recording.

    Args:
        description: with the label rule.
        files: of the recording.
        contents: the file that labels refer to, opened: that of `labels.file` where it holds
            signals, else that of the first modality.
        rate_hz, num_samples: of a lead that is read from that file, for a column of labels.

    Returns:
        Intervals, and the start of their time axis; None where that is the first sample of `contents`.

    Raises:
        InputError: no such column, annotator or field; a file that does not fit.
    """
    rule = description.labels
    path = files.paths[rule.file] if rule.file is not None else contents.path
    options = _options(description, rule)
    start = None
    if rule.source == "annotations":
        found = contents.annotations
    elif rule.source == "hypnogram":
        found, start = read_annotations(path)
    elif rule.source == "wfdb":
        found = read_annotator(path, rule.annotator)
    elif rule.source == "column":
        found = _from_column(path, options, rule.column, contents, rate_hz, num_samples)
    elif rule.source == "intervals":
        found = _from_table(path, options, files)
    else:
        if rule.field not in files.fields:
            raise InputError(
                f"{description.where}: labels.field is {rule.field!r}; the file patterns have: "
                f"{', '.join(files.fields) or 'none'}."
            )
        found = (Interval(-np.inf, np.inf, files.fields[rule.field]),)
    return _with_durations(found, rule, path), start


def _options(description: Description, rule: Labels) -> FileOptions:
    group = rule.file or next(iter(description.modalities.values())).file
    return description.files[group].options


def _with_durations(
    intervals: Sequence[Interval], rule: Labels, path: Path
) -> tuple[Interval, ...]:
    if rule.duration_s is None:
        wanted = [i for i in intervals if not _ignored(i.label, rule)]
        if wanted and all(interval.duration_s == 0 for interval in wanted):
            raise InputError(
                f"{path}: its labels ({_listed(wanted)}) have no duration. State labels.duration_s, "
                "seconds or next."
            )
        return tuple(intervals)
    ordered = sorted(intervals)
    ends = [interval.onset_s for interval in ordered[1:]] + [np.inf]
    return tuple(
        interval if interval.duration_s > 0 else interval._replace(
            duration_s=end - interval.onset_s if rule.duration_s == "next" else rule.duration_s
        )
        for interval, end in zip(ordered, ends, strict=True)
    )


def _from_column(
    path: Path, options: FileOptions, name: str, contents: Contents, rate_hz: float, samples: int
) -> tuple[Interval, ...]:
    kind = format_of(path, options)
    if kind == "table":
        values = column(path, read_table(path, options)[0], name)
    else:
        vectors = open_file(path, dataclasses.replace(options, array=None, lead_names=()))
        if name not in vectors.names:
            raise InputError(
                f"{path} has no one-dimensional array {name!r}. It has: {', '.join(vectors.names)}."
            )
        values = vectors.load([vectors.names.index(name)])[0]
    if len(values) != samples:
        raise InputError(
            f"{path}: {name!r} has {len(values)} labels, the signals have {samples} samples. One label "
            "per sample is needed; otherwise write the labels as a table of intervals (onset, "
            "duration, label) and use labels from: intervals."
        )
    codes, labels = pd.factorize(values)  # an empty cell gets -1
    at = np.arange(samples) / rate_hz if contents.times_s is None else contents.times_s
    # Each label lasts until the next row, but for a gap.
    ends = np.minimum(np.append(at[1:], np.inf), at + 1.5 / rate_hz)
    ends[-1] = at[-1] + 1 / rate_hz
    joined = (codes[1:] == codes[:-1]) & (at[1:] - ends[:-1] < 0.5 / rate_hz)
    firsts = np.flatnonzero(np.append(True, ~joined))
    lasts = np.append(firsts[1:] - 1, samples - 1)
    return tuple(
        Interval(float(at[a]), float(ends[b] - at[a]), _text(labels[codes[a]]))
        for a, b in zip(firsts, lasts, strict=True) if codes[a] >= 0
    )


def _from_table(path: Path, options: FileOptions, files: Files) -> tuple[Interval, ...]:
    names = {**files.fields, "recording": files.name}
    table, _ = read_table(path, options, as_text=names)  # 001 is no 1
    onset, duration = (
        pd.to_numeric(column(path, table, name), errors="coerce") for name in ("onset", "duration")
    )
    label = column(path, table, "label")
    keep = np.ones(len(table), bool)
    values = {field.lower(): value for field, value in names.items()}
    for name in table.columns:  # "Subject" too: unheeded, each recording would get the labels of all
        if name.lower() in values:
            keep &= table[name].astype(str).str.strip().to_numpy() == values[name.lower()]
    bad = np.flatnonzero(keep & (onset.isna() | ~(duration >= 0) | label.isna()).to_numpy())
    if bad.size:
        raise InputError(
            f"{path}: row {bad[0]} of the data has no onset, duration (s, not negative) or label. "
            "Complete or remove it."
        )
    if not keep.any():
        raise InputError(
            f"{path} has no row for recording {files.name!r}. Add its intervals, or put the recording "
            "into `exclude`."
        )
    return tuple(
        Interval(float(onset[i]), float(duration[i]), _text(label[i])) for i in np.flatnonzero(keep)
    )


def _text(value) -> str:
    """A cell as text; whole numbers without a point, so that 1.0 and 1 are one label."""
    if isinstance(value, bool | np.bool_ | str):
        return str(value).strip()
    return f"{value:g}" if float(value) != int(value) else str(int(value))


def _ignored(label: str, rule: Labels) -> bool:
    if label in rule.map:
        return False
    # By its own name first: as a pattern, "[note]" is one of four letters.
    return label in rule.ignore or any(fnmatch.fnmatchcase(label, p) for p in rule.ignore)


def _listed(intervals: Iterable[Interval]) -> str:
    counts = Counter(interval.label for interval in intervals)
    return ", ".join(f"{label!r} x{count}" for label, count in counts.most_common(8))


def window_classes(
    intervals: Sequence[Interval], starts_s: np.ndarray, window_s: float,
    description: Description, name: str,
) -> np.ndarray:
    """The class of each window: that which fills `min_share` of it.

    Args:
        intervals: with onsets on the windows' time axis.
        starts_s: (windows,).
        window_s: length.
        description: with classes and the label rule.
        name: the recording, for messages.

    Returns:
        (windows,) index of the class, -1 where no class fills enough of the window.

    Raises:
        InputError: a label that is neither mapped to a class, nor a class, nor ignored; two classes
            that both fill enough of a window.
    """
    rule = description.labels
    by_class: dict[int, list[Interval]] = {i: [] for i in range(len(description.classes))}
    for interval in intervals:
        target = rule.map.get(interval.label, interval.label)
        if target in description.classes and not _ignored(interval.label, rule):
            by_class[description.classes.index(target)].append(interval)
        elif not _ignored(interval.label, rule):
            raise InputError(
                f"{name}: label {interval.label!r} (at {interval.onset_s:g} s) has no class. Map it "
                f"to one of {', '.join(description.classes)} in labels.map, or put it into "
                f"labels.ignore. The labels here are: {_listed(intervals)}."
            )
    shares = np.stack([
        _covered(found, starts_s, window_s) / window_s for found in by_class.values()
    ]) if len(starts_s) else np.zeros((len(by_class), 0))
    enough = shares >= rule.min_share - _SLACK_S / window_s
    twice = np.flatnonzero(enough.sum(axis=0) > 1)
    if twice.size:
        classes = " and ".join(description.classes[i] for i in np.flatnonzero(enough[:, twice[0]]))
        raise InputError(
            f"{name}: {classes} both fill {rule.min_share:g} of the window at "
            f"{starts_s[twice[0]]:g} s. Raise labels.min_share above 0.5, or correct intervals that "
            "overlap."
        )
    return np.where(enough.any(axis=0), enough.argmax(axis=0), -1)


def _covered(intervals: Sequence[Interval], starts_s: np.ndarray, window_s: float) -> np.ndarray:
    """(windows,) seconds of each window that the union of intervals covers."""
    covered = np.zeros(len(starts_s))
    reached = -np.inf
    for onset, duration, _ in sorted(intervals):
        begin, end = max(onset, reached), onset + duration if duration < np.inf else np.inf
        if end > begin:
            covered += np.clip(
                np.minimum(starts_s + window_s, end) - np.maximum(starts_s, begin), 0, None
            )
            reached = end
    return covered
