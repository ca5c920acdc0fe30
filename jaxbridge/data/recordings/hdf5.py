"""HDF5 files: numeric data sets by their path inside the file."""

from pathlib import Path

import h5py
import numpy as np

from jaxbridge.data.recordings.arrays import as_leads
from jaxbridge.data.recordings.contents import Contents, plain_unit
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

_RATES = ("sampling_rate_hz", "sampling_rate", "sample_rate", "samplerate", "fs", "sfreq")
_UNITS = ("unit", "units")
# What h5py raises at damaged bytes.
_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError)


def open_hdf5(path: Path, options: FileOptions) -> Contents:
    """Opens an HDF5 (or MAT 7.3) file; see `arrays.as_leads`.

    A data set's attributes sampling_rate_hz, sampling_rate, sample_rate, samplerate, fs or sfreq,
    and unit or units, are taken where it has them; `rate_from` may name a data set of one number.

    Raises:
        InputError: no such file; damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    try:
        with h5py.File(path, "r") as file:
            shapes, notes = datasets(file)
    except _ERRORS as error:
        raise InputError(f"{path} is no readable HDF5 file: {error}. Get it again.") from error

    def read(name: str) -> np.ndarray:
        try:
            with h5py.File(path, "r") as file:
                return file[name][()]
        except _ERRORS as error:
            raise InputError(
                f"{path}: data set {name!r} cannot be read ({error}). Get the file again."
            ) from error

    def unit(name: str) -> str | None:
        found = next((notes[name][key] for key in _UNITS if key in notes[name]), None)
        found = found.decode() if isinstance(found, bytes) else found
        return plain_unit(found) if isinstance(found, str) else None

    def rate(name: str) -> float | None:
        found = next((notes[name][key] for key in _RATES if key in notes[name]), None)
        try:
            return None if found is None else float(np.asarray(found).reshape(-1)[0])
        except (ValueError, TypeError, IndexError):  # "250 Hz": for the description to state
            return None

    return as_leads(path, shapes, read, options, unit, rate)


def datasets(file: h5py.File) -> tuple[dict[str, tuple[int, ...]], dict[str, dict]]:
    """Shapes and attributes of all numeric data sets, by path."""
    shapes, notes = {}, {}

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iufb" and item.shape is not None:
            if name.startswith("#refs#"):  # MATLAB's own bookkeeping
                return
            shapes[name] = tuple(item.shape)
            notes[name] = dict(item.attrs)

    file.visititems(visit)
    return shapes, notes
