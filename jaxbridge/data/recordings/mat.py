"""MATLAB files: SciPy up to version 7, h5py for version 7.3."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io

from jaxbridge.data.recordings.arrays import as_leads, wanted
from jaxbridge.data.recordings.contents import Contents, Lead, plain_unit
from jaxbridge.data.recordings.hdf5 import open_hdf5
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.wfdb_record import read_record_header
from model_ports.errors import InputError


def open_mat(path: Path, options: FileOptions) -> Contents:
    """Opens a .mat file; see `arrays.as_leads`. With `header` the array holds raw WFDB samples.

    Raises:
        InputError: no such file; damaged; a header that does not fit the array.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    if h5py.is_hdf5(path):
        if options.header is not None:
            raise InputError(f"{path}: `header` is for MAT files up to version 7. Leave it out.")
        return open_hdf5(path, options)
    try:
        listed = scipy.io.whosmat(path)
        shapes = {
            name: tuple(shape) for name, shape, kind in listed
            if kind in _NUMERIC
        }
    except Exception as error:  # SciPy raises whatever the damaged bytes lead to
        raise InputError(f"{path} is no readable MAT file: {error}. Get it again.") from error

    def read(name: str) -> np.ndarray:
        try:
            return scipy.io.loadmat(path, variable_names=[name])[name]
        except Exception as error:
            raise InputError(
                f"{path}: array {name!r} cannot be read ({error}). Get the file again."
            ) from error

    if options.header is None:
        return as_leads(path, shapes, read, options)
    return _with_header(path, shapes, read, options)


_NUMERIC = (
    "double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "logical",
)


def _with_header(path, shapes, read, options) -> Contents:
    file = path.parent / options.header.replace("{stem}", path.stem)
    header = read_record_header(file)
    array = options.array or "val"
    shape = wanted(path, shapes, array)
    if len(shape) != 2 or shape[0] != header.n_sig:
        raise InputError(
            f"{path}: array {array!r} has shape {shape}, but {file.name} describes {header.n_sig} "
            "leads. Give the header of this file."
        )
    frames = header.samps_per_frame or [1] * header.n_sig
    if set(frames) != {1}:
        raise InputError(f"{file}: leads of several rates do not fit one array. Give the record.")
    leads = [
        Lead(name, float(header.fs), plain_unit(unit), shape[1], gain < 0)
        for name, unit, gain in zip(header.sig_name, header.units, header.adc_gain, strict=True)
    ]

    def load(indices):
        raw = read(array)
        result = []
        for i in indices:
            values = (raw[i].astype(np.float64) - header.baseline[i]) / header.adc_gain[i]
            if np.issubdtype(raw.dtype, np.integer):
                # The lowest value marks a missing sample.
                values[raw[i] == np.iinfo(raw.dtype).min] = np.nan
            result.append(values)
        return result

    return Contents(path, tuple(leads), load, remarks=(f"gains and units of {file.name}",))
