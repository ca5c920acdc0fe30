"""AI4PAIN 2025: EDA, BVP, respiration and SpO2 under no, low and high pain.

Second Multimodal Sensing Grand Challenge for Next-Gen Pain Assessment (Fernandez Rojas et al., 2025).
Of the organisers' pages (sites.google.com/view/ai4pain2025) come the 65 participants, 41 to train, 12
to validate and 12 to test, the four signals and three classes, and that test labels are not given out.
The layout below is what public code of participants reads (github.com/Cannistra94/AI4PAIN-Challenge,
vignankamarthi/AI4Pain-Feature-Extraction; for the tests' column names the 2026 edition in
soyeb-jim285/ai4pain-2026-analysis); the files themselves were not seen:

    {train,validation,test}/{Bvp,Eda,Resp,SpO2}/SUBJECT.csv

100 Hz, a column per trial, named SUBJECT_CONDITION_NUMBER with the conditions Baseline (about 60 s),
LOW, HIGH (12 each, about 10 s) and REST; in test SUBJECT_NUMBER. Shorter columns end in empty cells.

Left open by what could be read: whether "no pain" is the baseline alone or the rests too (`no_pain`;
here the baseline alone, cut into windows), and which part of a trial counts (its first `window_s`,
which is 9 s as in Cannistra's code, since trials are not all 10 s long).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.published.source_files import existing_folder
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import cut, samples_per_window
from model_ports.errors import InputError

SAMPLING_RATE_HZ = 100.0
MODALITIES = {"eda": "Eda", "bvp": "Bvp", "resp": "Resp", "spo2": "SpO2"}
PARTITIONS = ("train", "validation", "test")
NUM_SUBJECTS = {"train": 41, "validation": 12, "test": 12}
CLASS_NAMES = ("no pain", "low pain", "high pain")
_CLASSES = {"BASELINE": 0, "REST": 0, "LOW": 1, "HIGH": 2}
_COLUMN = re.compile(r"(?P<subject>[^_]+)_(?P<condition>[A-Za-z]+)_(?P<number>\d+)")


class Trial(NamedTuple):
    """One column of a file.

    Attributes:
        column: its name.
        condition: "BASELINE", "REST", "LOW" or "HIGH".
        signal: (samples,), the empty cells at its end left out.
    """

    column: str
    condition: str
    signal: np.ndarray


@dataclass(frozen=True)
class Ai4Pain:
    """The data set as windows of 'eda', 'bvp', 'resp' and 'spo2'; see `dataset.Dataset`.

    Signals are as recorded: no filter, no scale.

    Attributes:
        folder: with train and validation.
        partitions: which to read. "test" has no labels as given out: its columns must name them.
        no_pain: conditions that count as no pain, "BASELINE" with or without "REST".
        window_s: of every trial its first seconds; a baseline gives as many windows as fit.

    Raises:
        InputError: an unknown partition or condition; a window that is no whole number of samples.
    """

    folder: str | Path
    partitions: tuple[str, ...] = ("train", "validation")
    no_pain: tuple[str, ...] = ("BASELINE",)
    window_s: float = 9.0

    def __post_init__(self) -> None:
        if not self.partitions or set(self.partitions) - set(PARTITIONS):
            raise InputError(f"partitions {self.partitions}: name some of {', '.join(PARTITIONS)}.")
        if not self.no_pain or set(self.no_pain) - {"BASELINE", "REST"}:
            raise InputError(f"no_pain {self.no_pain}: name BASELINE, REST or both.")
        samples_per_window(self.window_s, SAMPLING_RATE_HZ)

    @staticmethod
    def how_to_get() -> str:
        """Where the files are, on which terms, and how they have to lie."""
        return (
            "AI4PAIN 2025: https://sites.google.com/view/ai4pain2025, on request to the organisers;\n"
            "their terms hold. Name the folder that has\n"
            "    train/Eda/1.csv  train/Bvp/1.csv  train/Resp/1.csv  train/SpO2/1.csv  ...\n"
            "and the same in validation (and in test, whose labels are not given out)."
        )

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """Recording ("train/1") -> subject ("1"), sorted.

        Raises:
            InputError: no such folder; a subject without one of the four signals, or in two
                partitions.
        """
        folder = existing_folder(self.folder, self.how_to_get())
        found: dict[str, str] = {}
        for partition in self.partitions:
            by_signal = {
                name: {path.stem for path in (folder / partition / name).glob("*.csv")}
                for name in MODALITIES.values()
            }
            subjects = set().union(*by_signal.values())
            if not subjects:
                raise InputError(f"{folder / partition} has no SUBJECT.csv.\n{self.how_to_get()}")
            for name, there in by_signal.items():
                if missing := sorted(subjects - there):
                    raise InputError(f"{folder / partition / name} has no {missing[0]}.csv.")
            if twice := sorted(subjects & set(found.values())):
                raise InputError(f"subject {twice[0]} is in {partition} and another partition.")
            found |= {f"{partition}/{subject}": subject for subject in subjects}
        return dict(sorted(found.items()))

    def check(self) -> list[str]:
        """What is missing of the published data set, one line each."""
        counts = [
            (partition, sum(name.startswith(f"{partition}/") for name in self.recordings))
            for partition in self.partitions
        ]
        return [
            f"{partition} has {count} of {NUM_SUBJECTS[partition]} subjects"
            for partition, count in counts if count != NUM_SUBJECTS[partition]
        ]

    def sources_of(self, recording: str) -> Sequence[str]:
        partition, subject = recording.split("/")
        return tuple(f"{partition}/{name}/{subject}.csv" for name in MODALITIES.values())

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        return {
            "dataset": "ai4pain2025",
            "modalities": {
                name: {
                    "sampling_rate_hz": SAMPLING_RATE_HZ, "unit": "a.u.", "leads": [file],
                    "preprocessing": "none",
                }
                for name, file in MODALITIES.items()
            },
            "class_names": list(CLASS_NAMES),
            "labels": f"the trial's condition; no pain: {', '.join(self.no_pain)}",
            "window_s": float(self.window_s),
            "step_s": float(self.window_s),
            "sources": sha256_of_files(
                self.folder, (file for name in self.recordings for file in self.sources_of(name))
            ),
        }

    def windows(self, recording: str) -> WindowBatch:
        """Reads a subject's four files.

        Raises:
            InputError: a file that cannot be read, columns without a condition or another subject's,
                other trials in one signal than in another, NaN within a trial, or one that is too
                short.
        """
        subject = self.recordings[recording]
        conditions = set(self.no_pain) | {"LOW", "HIGH"}
        arrays, labels, columns = {}, [], None
        for modality, source in zip(MODALITIES, self.sources_of(recording), strict=True):
            path = Path(self.folder) / source
            trials = [t for t in read_trials(path, subject) if t.condition in conditions]
            if columns is not None and columns != [t.column for t in trials]:
                raise InputError(f"{path} has other trials than the subject's other signals.")
            columns = [t.column for t in trials]
            parts = [self._cut(path, trial) for trial in trials]
            arrays[modality] = np.concatenate(parts) if parts else np.zeros((0, 1, 0))
            counts = [len(part) for part in parts]
            found = np.repeat([_CLASSES[t.condition] for t in trials], counts).astype(np.int64)
            if len(labels) and len(labels) != len(found):
                raise InputError(f"{path}: its baseline is shorter than the other signals'.")
            labels = found
        return WindowBatch(arrays, labels, subject, recording)

    def _cut(self, path: Path, trial: Trial) -> np.ndarray:
        """(windows, 1, samples) of a trial."""
        windows = cut(trial.signal[None], SAMPLING_RATE_HZ, self.window_s, self.window_s)
        if not len(windows):
            raise InputError(
                f"{path}: trial {trial.column!r} has {len(trial.signal)} samples "
                f"({len(trial.signal) / SAMPLING_RATE_HZ:.2f} s), too few for a window of "
                f"{self.window_s:g} s; choose a smaller window_s."
            )
        return windows if trial.condition == "BASELINE" else windows[:1]


def read_trials(path: Path, subject: str) -> list[Trial]:
    """Reads a file's columns in their order.

    Raises:
        InputError: see `Ai4Pain.windows`.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            names = [name.strip().strip('"') for name in file.readline().rstrip("\r\n").split(",")]
            table = np.genfromtxt(file, delimiter=",", ndmin=2)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get the file again.") from error
    if table.shape[1] != len(names) or not len(table):
        raise InputError(
            f"{path} has {len(names)} column names and {table.shape[1]} columns of {len(table)} "
            "rows. Get the file again."
        )
    return [_trial(path, name, column, subject) for name, column in zip(names, table.T, strict=True)]


def _trial(path: Path, name: str, column: np.ndarray, subject: str) -> Trial:
    found = _COLUMN.fullmatch(name)
    if found is None or found["condition"].upper() not in _CLASSES:
        raise InputError(
            f"{path}: column {name!r} states no condition (SUBJECT_CONDITION_NUMBER with Baseline, "
            "REST, LOW or HIGH). The labels of the test subjects are not given out: leave "
            "partition 'test' out."
        )
    if found["subject"] != subject:
        raise InputError(f"{path}: column {name!r} is not of subject {subject}.")
    finite = np.flatnonzero(np.isfinite(column))
    signal = column[: finite[-1] + 1] if len(finite) else column[:0]
    if len(finite) < len(signal):
        bad = np.flatnonzero(~np.isfinite(signal))
        raise InputError(
            f"{path}: trial {name!r} has {len(bad)} NaN or infinite samples before its end, the "
            f"first at sample {bad[0]} ({bad[0] / SAMPLING_RATE_HZ:.2f} s). Get the file again, or "
            "interpolate it."
        )
    return Trial(name, found["condition"].upper(), signal)
