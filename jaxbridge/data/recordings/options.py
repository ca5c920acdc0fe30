"""What a description may say about a file beyond its format."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileOptions:
    """How a file is read; each format uses some of it, and refuses the rest.

    Attributes:
        format: 'edf', 'wfdb', 'mat', 'hdf5', 'table' or 'npz'; None to go by the file name.
        array: MAT, HDF5, NPZ: the array that holds the signals, (leads, samples) or (samples, leads),
            whichever is longer being time. None: every one-dimensional array is a lead.
        lead_names: names of the array's leads, or of a table's columns where it has no header.
        rate_from: MAT, HDF5, NPZ: the number (or HDF5 attribute) that is the sampling rate in Hz.
        header: MAT: WFDB header (.hea, relative to the file) with rate, names, gains and units of
            the array's raw samples. A '{stem}' in it stands for the file's name without ending.
        time_column: table: the column with the time of each row.
        time_unit: table: unit of the time column, 's', 'ms', 'us' or 'date'.
    """

    format: str | None = None
    array: str | None = None
    lead_names: tuple[str, ...] = ()
    rate_from: str | None = None
    header: str | None = None
    time_column: str | None = None
    time_unit: str = "s"
