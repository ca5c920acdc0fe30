"""EDF, EDF+, BDF and BDF+: signals and annotations, read by MNE."""

import datetime
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np

from jaxbridge.data.edf import EdfHeader, read_header
from jaxbridge.data.recordings.contents import Contents, Interval, Lead, Start, plain_unit
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

# MNE brings what it takes for a voltage to volts, by these very spellings, and leaves all else alone:
# also "uv", which `plain_unit` takes for microvolts too.
_PER_VOLT = {"uV": 1e6, "\u00b5V": 1e6, "\u03bcV": 1e6, "\x83\xcaV": 1e6, "mV": 1e3}

# The annotation that every EDF+ file begins with: when, and no text.
_FIRST_ONSET = re.compile(rb"\+(\d+\.?\d*)\x14\x14")


def open_edf(path: Path, options: FileOptions) -> Contents:
    """Opens an EDF or BDF file; see `data.edf.read_header` for what is refused."""
    del options
    header = read_header(path)
    raw = _raw(path, list(header.labels[:1]))
    date = raw.info["meas_date"]
    inverted = _inverted(path)
    leads = tuple(
        Lead(
            label, header.sampling_rate_hz(i), plain_unit(header.dimensions[i]),
            header.samples_per_record[i] * header.num_records, inverted[i],
        )
        for i, label in enumerate(header.labels)
    )
    return Contents(
        path, leads, lambda indices: _load(path, header, leads, indices),
        None if date is None else Start(date.timestamp() + _first_record_s(path), "date"),
        _intervals(raw.annotations),
    )


def read_annotations(path: Path) -> tuple[tuple[Interval, ...], Start | None]:
    """The annotations of an EDF+ file that may hold no signal (a hypnogram), and its start.

    Raises:
        InputError: no such file; cut off; no annotations in it.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    try:
        with tempfile.TemporaryDirectory() as folder:
            # MNE looks through all bytes, those of signals too, of a file with this very ending.
            notes = Path(folder) / "notes.edf"
            notes.write_bytes(_annotation_bytes(path))
            found = mne.read_annotations(notes, encoding="latin1")
        date = _start_in_header(path)
    except (ValueError, OSError, RuntimeError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read as EDF+ annotations: {error}. Get the file again."
        ) from error
    if not len(found):
        raise InputError(f"{path} holds no annotations. Give the EDF+ file that has them.")
    return _intervals(found), date


def _first_record_s(path: Path) -> float:
    """How long after the start in its header an EDF+ file begins: the header has whole seconds only."""
    try:
        onset = _FIRST_ONSET.match(_annotation_bytes(path, records=1))
    except ValueError:
        return 0.0
    return float(onset[1]) if onset else 0.0


def _annotation_bytes(path: Path, records: int | None = None) -> bytes:
    """What annotation signals hold, record by record; raises `ValueError` for a damaged file.

    Args:
        path: of the file.
        records: to read, from the first; all if None.
    """
    main, fields, count = _fields(path)
    at, size = 216 * count, 3 if path.suffix.lower() == ".bdf" else 2
    widths = [size * int(fields[at + 8 * i : at + 8 * (i + 1)]) for i in range(count)]
    if min(widths, default=0) < 1:
        raise ValueError("impossible header")
    promised, begin = int(main[236:244]), 256 * (count + 1)
    held = (path.stat().st_size - begin) // sum(widths)
    if held < max(promised, 1):
        raise ValueError(f"cut off, its header promises {promised} records, {max(held, 0)} are there")
    content = np.memmap(path, np.uint8, "r", begin, (min(held, records or held), sum(widths)))
    ends = np.cumsum(widths)
    found = [
        content[:, ends[i] - widths[i] : ends[i]] for i in range(count)
        if fields[16 * i : 16 * (i + 1)].strip().endswith(b"Annotations")
    ]
    return np.concatenate(found, axis=1).tobytes() if found else b""


def _intervals(notes: mne.Annotations) -> tuple[Interval, ...]:
    """Annotations that were read as Latin-1, which takes every byte."""
    return tuple(
        Interval(float(note["onset"]), float(note["duration"]), _text(str(note["description"])))
        for note in notes
    )


def _text(label: str) -> str:
    """UTF-8, as EDF+ wants it, where it is; else the Latin-1 of many a device."""
    try:
        return label.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return label


def _raw(path: Path, labels: list[str]) -> mne.io.BaseRaw:
    reader = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    try:
        return reader(
            path, include=labels, stim_channel=None, preload=False, encoding="latin1", verbose="ERROR"
        )
    except (ValueError, RuntimeError, OSError, IndexError, AssertionError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get the file again.") from error


def _load(
    path: Path, header: EdfHeader, leads: tuple[Lead, ...], indices: Sequence[int]
) -> list[np.ndarray]:
    for i in indices:
        if header.labels.count(leads[i].name) > 1:
            raise InputError(
                f"{path}: two signals are called {leads[i].name!r}. Rename one of them."
            )
    result: dict[int, np.ndarray] = {}
    # Leads of one rate at a time: MNE resamples all to the fastest.
    for rate in sorted({leads[i].sampling_rate_hz for i in indices}):
        group = [i for i in indices if leads[i].sampling_rate_hz == rate]
        raw = _raw(path, [leads[i].name for i in group])
        try:
            values = raw.get_data(picks=[raw.ch_names.index(leads[i].name) for i in group])
        except (ValueError, RuntimeError, OSError, IndexError, AssertionError) as error:
            raise InputError(f"{path} cannot be read: {error}. Get the file again.") from error
        for i, row in zip(group, values, strict=True):
            result[i] = row * _PER_VOLT.get(header.dimensions[i], 1.0)
    return [result[i] for i in indices]


def _fields(path: Path) -> tuple[bytes, bytes, int]:
    with path.open("rb") as file:
        main = file.read(256)
        count = int(main[252:256])
        return main, file.read(256 * count), count


def _inverted(path: Path) -> list[bool]:
    """Per signal (annotations left out): the physical minimum lies above the maximum."""
    _, fields, count = _fields(path)

    def column(start: int, width: int) -> list[str]:
        at = start * count
        return [
            fields[at + width * i : at + width * (i + 1)].decode("latin-1").strip()
            for i in range(count)
        ]

    # Field offsets per signal: label 0, physical minimum 104 and maximum 112, digital 120 and 128.
    labels, low, high = column(0, 16), column(104, 8), column(112, 8)
    first, last = column(120, 8), column(128, 8)
    keep = [i for i, label in enumerate(labels) if not label.endswith("Annotations")]
    try:
        return [
            (float(high[i]) - float(low[i])) * (float(last[i]) - float(first[i])) < 0 for i in keep
        ]
    except ValueError as error:
        raise InputError(f"{path}: a signal's range is no number. Get the file again.") from error


def _start_in_header(path: Path) -> Start | None:
    """The start of a file without signals, which MNE does not open."""
    text = _fields(path)[0][168:184].decode("latin-1")
    try:
        century = 1900 if int(text[6:8]) >= 85 else 2000  # as the EDF+ specification has it
        date = datetime.datetime.strptime(
            f"{text[:6]}{century + int(text[6:8])}{text[8:]}", "%d.%m.%Y%H.%M.%S"
        )
    except ValueError:
        return None
    return Start(date.replace(tzinfo=datetime.UTC).timestamp() + _first_record_s(path), "date")
