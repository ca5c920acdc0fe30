"""NumPy's .npz files, without pickled objects."""

import zipfile
from pathlib import Path

import numpy as np

from jaxbridge.data.recordings.arrays import as_leads
from jaxbridge.data.recordings.contents import Contents
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

_ERRORS = (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError)


def open_npz(path: Path, options: FileOptions) -> Contents:
    """Opens an .npz file; see `arrays.as_leads`.

    Raises:
        InputError: no such file; damaged. Arrays of Python objects are left out.
    """
    arrays = read_arrays(path)
    return as_leads(path, {n: a.shape for n, a in arrays.items()}, arrays.__getitem__, options)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All numeric and text arrays of the file."""
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    array = file[name]
                except ValueError as error:
                    if "pickle" in str(error):  # Python objects are not read
                        continue
                    raise
                if array.dtype.kind in "iufb":
                    arrays[name] = array
    except _ERRORS as error:
        raise InputError(f"{path} is no readable .npz file: {error}. Get it again.") from error
    return arrays
