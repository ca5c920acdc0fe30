"""FOG: EEG and EMG of people with Parkinson's disease whose gait freezes (Zhang et al., 2022).

Layout: `FilteredData/SSS/[OFF_k/]task_n.txt`, comma-separated without header, 500 Hz, 61 columns: row
number, time of day, 25 EEG leads in uV (FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 ...), EMG1 EMG2 IO EMG3 EMG4,
28 of motion sensors and skin conductance, and the label, 1 while the gait is frozen.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.published.encoder_input import published_recipe
from jaxbridge.data.published.labelled_windows import labelled_windows
from jaxbridge.data.published.source_files import existing_folder
from jaxbridge.data.recipes import layout, prepare
from jaxbridge.data.recording import Recording
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import count_windows
from model_ports.errors import InputError

SAMPLING_RATE_HZ = 500.0
NUM_COLUMNS, LABEL_COLUMN, TIME_COLUMN = 61, 60, 1
EEG_COLUMNS = {"F3": 4, "F4": 5, "C3": 6, "C4": 7, "O1": 10, "O2": 11}
# Folder -> columns of the three EMG channels: the electrodes' sockets were not always the same.
EMG_COLUMNS = {
    "001": (27, 28, 31), "002": (27, 28, 31), "003": (28, 27, 31), "004": (28, 27, 31),
    "005": (28, 27, 31), "006": (27, 28, 31), "007": (27, 28, 31), "008/OFF_1": (27, 28, 31),
    "008/OFF_2": (27, 31, 28), "009": (28, 27, 30), "010": (28, 27, 31), "011": (28, 27, 31),
    "012": (28, 27, 31),
}
CLASS_NAMES = ("no freezing", "freezing")
EMG_CHANNELS = ("EMG 1", "EMG 2", "EMG 3")
_ROOT = "FilteredData"
_SHARE = 0.8
# Largest difference between the time stamps' duration and the rows', as a share.
_RATE_TOLERANCE = 0.05


@dataclass(frozen=True)
class Fog:
    """The data set as windows of 'eeg' and 'emg'; see `dataset.Dataset`.

    Prepared as by BioX-Bridge: six EEG leads, linearly resampled and not z-scored; three EMG
    channels, linearly resampled (which folds most of their band) and z-scored over the file; windows
    of which one label holds 80 %.

    Attributes:
        folder: with FilteredData.
        eeg_encoder, emg_encoder: encoders to prepare for.
        subjects: the paper's is "008"; () for all that are there.
        window_s, step_s: length and distance of windows in seconds.

    Raises:
        InputError: an unknown encoder or subject; a window that does not fit a rate.
    """

    folder: str | Path
    eeg_encoder: str = "labram"
    emg_encoder: str = "normwear"
    subjects: tuple[str, ...] = ("008",)
    window_s: float = 3.0
    step_s: float = 0.3

    def __post_init__(self) -> None:
        known = {folder.partition("/")[0] for folder in EMG_COLUMNS}
        if unknown := sorted(set(self.subjects) - known):
            raise InputError(
                f"FOG has no subject {', '.join(unknown)}; it has {', '.join(sorted(known))}."
            )
        for rate in (self._eeg.sampling_rate_hz, self._emg.sampling_rate_hz, SAMPLING_RATE_HZ):
            count_windows(0, rate, self.window_s, self.step_s)

    @staticmethod
    def how_to_get() -> str:
        """Where the files are, on which terms, and how they have to lie."""
        return (
            "FOG: https://data.mendeley.com/datasets/r8gmbtv7w2/3, doi 10.17632/r8gmbtv7w2.3, with\n"
            "its paper (doi 10.1038/s41597-022-01713-8) cited; the licence is on that page. Some GB\n"
            "of text: 222 minutes of 500 lines a second. Name the folder with FilteredData in it:\n"
            "    FilteredData/001/task_1.txt ... FilteredData/012/task_1.txt ...\n"
            "    FilteredData/008/OFF_1/task_1.txt ... FilteredData/008/OFF_2/task_1.txt ...\n"
            "The paper's study reads 008 only."
        )

    @property
    def _eeg(self):
        return published_recipe(self.eeg_encoder)

    @property
    def _emg(self):
        return published_recipe(self.emg_encoder)

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """Recording ('008/OFF_1/task_1') -> subject ('008'), sorted.

        Raises:
            InputError: no such folder; a subject asked for without files; a folder whose EMG columns
                are not known.
        """
        folder = existing_folder(self.folder, self.how_to_get())
        root = existing_folder(folder / _ROOT, self.how_to_get())
        found = sorted(path.relative_to(root) for path in root.rglob("*.txt"))
        if self.subjects:
            found = [path for path in found if path.parts[0] in self.subjects]
        for path in found:
            if path.parent.as_posix() not in EMG_COLUMNS:
                raise InputError(
                    f"{root / path}: FOG has no folder {path.parent.as_posix()!r}, so its EMG columns "
                    f"are not known. Folders are {', '.join(EMG_COLUMNS)}."
                )
        there = {path.parts[0] for path in found}
        if missing := sorted(set(self.subjects) - there) or not found:
            what = f"of subject {', '.join(missing)}" if self.subjects else ""
            raise InputError(f"{root} has no task_n.txt {what}.\n{self.how_to_get()}")
        return {path.with_suffix("").as_posix(): path.parts[0] for path in found}

    def check(self) -> list[str]:
        """What is missing of the published data set, one line each. First lines only are read.

        Raises:
            InputError: see `recordings`; a file whose first line has not 61 columns.
        """
        for name in self.recordings:
            _first_line(self._path(name))
        there = {name.rpartition("/")[0] for name in self.recordings}
        return [
            f"{_ROOT}/{folder} is missing"
            for folder in EMG_COLUMNS
            if folder not in there and (not self.subjects or folder[:3] in self.subjects)
        ]

    def sources_of(self, recording: str) -> Sequence[str]:
        return (f"{_ROOT}/{recording}.txt",)

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        eeg, emg = self._eeg, self._emg
        folders = sorted({name.rpartition("/")[0] for name in self.recordings})
        columns = {folder: list(EMG_COLUMNS[folder]) for folder in folders}
        return {
            "dataset": "fog",
            "modalities": {
                "eeg": {
                    "sampling_rate_hz": eeg.sampling_rate_hz,
                    "unit": eeg.output_unit,
                    "leads": list(EEG_COLUMNS),
                    "preprocessing": eeg.as_dict(),
                },
                "emg": {
                    "sampling_rate_hz": emg.sampling_rate_hz,
                    "unit": emg.output_unit,
                    "leads": list(EMG_CHANNELS),
                    "preprocessing": emg.as_dict() | {"columns": columns},
                },
            },
            "class_names": list(CLASS_NAMES),
            "labels": f"one label for {_SHARE:.0%} of the window",
            "window_s": float(self.window_s),
            "step_s": float(self.step_s),
            "sources": sha256_of_files(
                self.folder, (file for name in self.recordings for file in self.sources_of(name))
            ),
        }

    def windows(self, recording: str) -> WindowBatch:
        """Reads one file.

        Raises:
            InputError: a line without its 61 columns or with text for a number; time stamps of another
                rate; NaN or a constant lead; a label other than 0 and 1.
        """
        path = self._path(recording)
        subject, emg_columns = self.recordings[recording], EMG_COLUMNS[recording.rpartition("/")[0]]
        eeg, emg, labels = _read(path, emg_columns)
        recipes = {"eeg": self._eeg, "emg": self._emg}
        recorded = {
            "eeg": Recording(eeg, SAMPLING_RATE_HZ, tuple(EEG_COLUMNS), "uV", str(path), subject),
            "emg": Recording(emg, SAMPLING_RATE_HZ, EMG_CHANNELS, "a.u.", str(path), subject),
        }
        signals = {
            name: (prepare(recorded[name], recipe), recipe.sampling_rate_hz)
            for name, recipe in recipes.items()
        }
        found = labelled_windows(
            signals, labels, SAMPLING_RATE_HZ, wanted=(0, 1), share=_SHARE,
            window_s=self.window_s, step_s=self.step_s,
        )
        arrays = {name: layout(found.arrays[name], recipe) for name, recipe in recipes.items()}
        return WindowBatch(arrays, found.labels, subject, recording, start_s=found.start_s)

    def _path(self, recording: str) -> Path:
        return Path(self.folder) / self.sources_of(recording)[0]


def _read(path: Path, emg_columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """EEG (6, samples), EMG (3, samples) and labels (samples,) of a file."""
    first = _first_line(path)
    columns = [*EEG_COLUMNS.values(), *emg_columns, LABEL_COLUMN]
    try:
        try:
            frame = pd.read_csv(
                path, header=None, usecols=columns, dtype=float, na_filter=False,
                quoting=csv.QUOTE_NONE,
            )
            table = frame[columns].to_numpy()
        except ValueError:  # NumPy is slower, but reads "nan" and names the row that it cannot read
            table = np.loadtxt(path, delimiter=",", usecols=columns, ndmin=2, comments=None)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get the file again.") from error
    _check_rate(path, first, len(table))
    values, labels = np.ascontiguousarray(table[:, :-1].T), table[:, -1]
    bad = np.flatnonzero(~np.isin(labels, (0, 1)))
    if bad.size:
        raise InputError(
            f"{path}: label {labels[bad[0]]:g} at sample {bad[0]} "
            f"({bad[0] / SAMPLING_RATE_HZ:.3f} s) is neither 0 nor 1. Get the file again."
        )
    num_eeg = len(EEG_COLUMNS)
    return values[:num_eeg], values[num_eeg:], labels.astype(np.int8)


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.readline().decode("ascii")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get it again.") from error
    found = line.count(",") + 1
    if found != NUM_COLUMNS:
        raise InputError(
            f"{path} has {found} columns in its first line, {NUM_COLUMNS} are wanted: it is not of "
            f"{_ROOT}, or damaged. Get the file again."
        )
    return line


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16))
        return file.read().decode("ascii", "replace").rstrip().rpartition("\n")[2]


def _check_rate(path: Path, first: str, num_rows: int) -> None:
    """Refuses time stamps that tell another sampling rate than 500 Hz."""
    stamps = [line.split(",")[TIME_COLUMN] for line in (first, _last_line(path))]
    try:
        start_s, stop_s = (_seconds(stamp) for stamp in stamps)
    except ValueError as error:
        raise InputError(
            f"{path}: {stamps[0]!r} or {stamps[1]!r} in column {TIME_COLUMN} is no time of day. "
            "Get the file again."
        ) from error
    by_stamps = (stop_s - start_s) % 86400
    by_rows = (num_rows - 1) / SAMPLING_RATE_HZ
    if abs(by_stamps - by_rows) > _RATE_TOLERANCE * max(by_stamps, by_rows):
        raise InputError(
            f"{path}: {num_rows} rows from {stamps[0]} to {stamps[1]} are {by_stamps:g} s, at "
            f"{SAMPLING_RATE_HZ:g} Hz they would be {by_rows:g} s. Rows are missing or the rate is "
            "another one; get the file again or leave it out of the folder."
        )


def _seconds(stamp: str) -> float:
    hours, minutes, seconds = stamp.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
