"""Opening a file of signals by its format."""

from collections.abc import Callable
from pathlib import Path

from jaxbridge.data.recordings.contents import Contents
from jaxbridge.data.recordings.edf import open_edf
from jaxbridge.data.recordings.hdf5 import open_hdf5
from jaxbridge.data.recordings.mat import open_mat
from jaxbridge.data.recordings.npz import open_npz
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.table import open_table
from jaxbridge.data.recordings.wfdb_record import open_wfdb, source_files
from model_ports.errors import InputError

_ARRAYS = {"array", "lead_names", "rate_from"}
FORMATS: dict[str, tuple[Callable[[Path, FileOptions], Contents], set[str]]] = {
    "edf": (open_edf, set()),
    "wfdb": (open_wfdb, set()),
    "mat": (open_mat, _ARRAYS | {"header"}),
    "hdf5": (open_hdf5, _ARRAYS),
    "npz": (open_npz, _ARRAYS),
    "table": (open_table, {"lead_names", "time_column", "time_unit"}),
}
_SUFFIXES = {
    ".edf": "edf", ".bdf": "edf", ".hea": "wfdb", ".mat": "mat", ".h5": "hdf5", ".hdf5": "hdf5",
    ".hdf": "hdf5", ".npz": "npz", ".csv": "table", ".tsv": "table", ".txt": "table",
}


def format_of(path: Path, options: FileOptions) -> str:
    """The format stated, or that of the file name's ending.

    Raises:
        InputError: an ending that says nothing; an option that the format does not have.
    """
    found = options.format or _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise InputError(
            f"{path}: the ending {path.suffix!r} is no known format ({', '.join(_SUFFIXES)}). State "
            f"`format`, one of {', '.join(FORMATS)}; of a WFDB record give the .hea file."
        )
    default = FileOptions()
    for name in ("array", "lead_names", "rate_from", "header", "time_column", "time_unit"):
        if getattr(options, name) != getattr(default, name) and name not in FORMATS[found][1]:
            users = ", ".join(key for key, (_, known) in FORMATS.items() if name in known)
            raise InputError(f"{path}: `{name}` is for {users}, not for {found}. Leave it out.")
    return found


def open_file(path: Path, options: FileOptions = FileOptions()) -> Contents:  # noqa: B008
    """Opens a file: lists its leads, reads samples when asked.

    Raises:
        InputError: see `format_of` and the formats' own modules.
    """
    return FORMATS[format_of(path, options)][0](path, options)


def sources(path: Path, options: FileOptions = FileOptions()) -> list[Path]:  # noqa: B008
    """All files that are read for `path`: a WFDB header names its signal files."""
    kind = format_of(path, options)
    if kind == "wfdb":
        return source_files(path)
    if kind == "mat" and options.header is not None:
        return [path, path.parent / options.header.replace("{stem}", path.stem)]
    return [path]
