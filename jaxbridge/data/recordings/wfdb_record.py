"""WFDB records (PhysioNet): header, signals at their own rates, and annotation files."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import wfdb

from jaxbridge.data.recordings.contents import Contents, Interval, Lead, Start, plain_unit
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError)


def read_record_header(path: Path) -> wfdb.Record:
    """A record's header.

    Raises:
        InputError: no such file; damaged; a record of several segments.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    try:
        header = wfdb.rdheader(str(path.with_suffix("")))
    except _ERRORS as error:
        raise InputError(f"{path} is no readable WFDB header: {error}. Get it again.") from error
    if isinstance(header, wfdb.MultiRecord):
        raise InputError(f"{path} is a record of several segments. Give the segments' headers.")
    if not header.n_sig:
        raise InputError(f"{path} describes no signal. Give the header of a record with signals.")
    return header


def source_files(path: Path) -> list[Path]:
    """The header and the signal files it names, sorted."""
    header = read_record_header(path)
    return sorted({path, *(path.parent / name for name in header.file_name)})


def open_wfdb(path: Path, options: FileOptions) -> Contents:
    """Opens the record of a .hea file.

    Raises:
        InputError: see `read_record_header`; a signal file that is missing or too short.
    """
    del options
    header = read_record_header(path)
    for file in source_files(path):
        if not file.is_file():
            raise InputError(f"{path} names the signal file {file.name}, which is not there.")
    frames = header.samps_per_frame or [1] * header.n_sig
    length = header.sig_len
    if not length:  # a header need not tell it: the signal file's size does
        length = len(_read(path, [0])[0]) // frames[0]
    leads = []
    for i, name in enumerate(header.sig_name):
        rate = header.fs * frames[i]
        leads.append(Lead(
            name or f"signal {i}", rate, plain_unit(header.units[i]), length * frames[i],
            header.adc_gain[i] < 0,
        ))
    return Contents(
        path, tuple(leads), lambda indices: _load(path, leads, indices), _start(header),
        remarks=tuple(header.comments or ()),
    )


def _start(header: wfdb.Record) -> Start | None:
    if header.base_date is None or header.base_time is None:
        return None
    date = datetime.datetime.combine(header.base_date, header.base_time, datetime.UTC)
    return Start(date.timestamp(), "date")


def _read(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    try:
        record = wfdb.rdrecord(
            str(path.with_suffix("")), channels=list(indices), smooth_frames=False
        )
    except _ERRORS as error:
        raise InputError(
            f"{path}: its signal files cannot be read ({error}). They may be cut off; get them again."
        ) from error
    return [np.asarray(signal, np.float64) for signal in record.e_p_signal]


def _load(path: Path, leads: Sequence[Lead], indices: Sequence[int]) -> list[np.ndarray]:
    signals = _read(path, indices)
    for i, signal in zip(indices, signals, strict=True):
        if len(signal) != leads[i].num_samples:
            raise InputError(
                f"{path}: lead {leads[i].name!r} has {len(signal)} samples, its header promises "
                f"{leads[i].num_samples}. Get the files again."
            )
    return signals


def read_annotator(path: Path, annotator: str) -> tuple[Interval, ...]:
    """Annotations of the record of a .hea file: the note where there is one, else the symbol.

    Each lasts until the next one; the last one until the record's end, or for ever where the header
    does not tell it.

    Raises:
        InputError: the annotation file is missing or damaged.
    """
    file = path.with_suffix(f".{annotator}")
    if not file.is_file():
        raise InputError(f"{file} does not exist: check `annotator`, or leave the recording out.")
    header = read_record_header(path)
    try:
        found = wfdb.rdann(str(path.with_suffix("")), annotator)
    except _ERRORS as error:
        raise InputError(f"{file} is no readable annotation file: {error}.") from error
    rate = found.fs or header.fs
    onsets = np.asarray(found.sample) / rate
    end_s = header.sig_len / header.fs if header.sig_len else np.inf
    ends = np.append(onsets[1:], max(end_s, onsets[-1])) if len(onsets) else onsets
    labels = [
        note.strip("\x00 ") or symbol
        for note, symbol in zip(found.aux_note, found.symbol, strict=True)
    ]
    return tuple(
        Interval(float(onset), float(end - onset), label)
        for onset, end, label in zip(onsets, ends, labels, strict=True)
    )
