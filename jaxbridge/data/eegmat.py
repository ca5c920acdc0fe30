"""EEGMAT: EEG and ECG at rest and during mental arithmetic (PhysioNet, doi 10.13026/C2JQ1P).

Layout: `SubjectNN_1.edf` is rest (about 3 minutes), `SubjectNN_2.edf` mental arithmetic (1 minute),
each with 19 EEG leads and one ECG lead at 500 Hz. The last minute of rest is compared with the
first minute of the task, so both classes have equally many windows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.signal  # noqa: F401  loaded before workers are forked, not in each

from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.edf import read_edf
from jaxbridge.data.recipes import Recipe, layout, prepare
from jaxbridge.data.recording import Recording
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import count_windows, cut_together
from model_ports.errors import InputError

CLASS_NAMES = ("rest", "mental arithmetic")
EEG_LEADS = ("F3", "C3", "O1", "F4", "C4", "O2")
ECG_LEAD = "ECG ECG"
SIZES = {"train": 9, "val": 3, "pair": 7, "test": 5}
_PART_S = 60.0
_FILE = re.compile(r"^(Subject\d+)_([12])\.edf$")
_WHERE = "https://physionet.org/content/eegmat/1.0.0/"


@dataclass(frozen=True)
class Eegmat:
    """The data set as windows, for `preparation.prepare`.

    Attributes:
        folder: with the EDF files.
        eeg_recipe, ecg_recipe: preprocessing of the two modalities, 'eeg' and 'ecg'.
        eeg_leads: names, in the order of the result.
        ecg_lead: name.
        window_s, step_s: length and distance of windows in seconds.
    """

    folder: str | Path
    eeg_recipe: Recipe
    ecg_recipe: Recipe
    eeg_leads: Sequence[str] = EEG_LEADS
    ecg_lead: str = ECG_LEAD
    window_s: float = 10.0
    step_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.eeg_leads:
            raise InputError("No EEG leads are asked for. Name one at least.")
        for rate in (self.eeg_recipe.sampling_rate_hz, self.ecg_recipe.sampling_rate_hz):
            if count_windows(round(_PART_S * rate), rate, self.window_s, self.step_s) == 0:
                raise InputError(
                    f"Windows of {self.window_s:g} s do not fit into the {_PART_S:g} s of a class. "
                    "Choose a smaller window_s."
                )

    @staticmethod
    def how_to_get() -> str:
        """Where the files are, and how they have to lie."""
        return (
            f"EEGMAT: {_WHERE} (0.2 GB, open access). Name the folder with\n"
            "    Subject00_1.edf  Subject00_2.edf  Subject01_1.edf  ...  Subject35_2.edf"
        )

    @cached_property
    def files(self) -> dict[str, tuple[Path, Path]]:
        """Subject -> (rest, task) file, sorted by subject.

        Raises:
            InputError: no such folder; no files of this layout; a subject with one file only.
        """
        folder = Path(self.folder)
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Get the EDF files from {_WHERE}.")
        found: dict[str, dict[str, Path]] = {}
        for path in sorted(folder.iterdir()):
            if match := _FILE.match(path.name):
                found.setdefault(match[1], {})[match[2]] = path
        if not found:
            raise InputError(
                f"{folder} has no SubjectNN_1.edf and SubjectNN_2.edf. Get them from {_WHERE}."
            )
        for subject, pair in found.items():
            for part in "12":
                if part not in pair:
                    raise InputError(
                        f"{folder}: {subject}_{part}.edf is missing. Get it from {_WHERE} or remove "
                        "the subject's other file."
                    )
        return {subject: (pair["1"], pair["2"]) for subject, pair in found.items()}

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """File name without suffix -> subject; raises what `files` raises."""
        return {path.stem: name for name, pair in self.files.items() for path in pair}

    def sources_of(self, recording: str) -> Sequence[str]:
        return (f"{recording}.edf",)

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        modalities = {
            "eeg": (self.eeg_recipe, list(self.eeg_leads)),
            "ecg": (self.ecg_recipe, [self.ecg_lead]),
        }
        return {
            "dataset": "eegmat",
            "modalities": {
                name: {
                    "sampling_rate_hz": recipe.sampling_rate_hz,
                    "unit": recipe.output_unit,
                    "leads": leads,
                    "preprocessing": recipe.as_dict(),
                }
                for name, (recipe, leads) in modalities.items()
            },
            "class_names": list(CLASS_NAMES),
            "labels": f"last {_PART_S:g} s of rest; first {_PART_S:g} s of mental arithmetic",
            "window_s": float(self.window_s),
            "step_s": float(self.step_s),
            "sources": sha256_of_files(self.folder, (f"{name}.edf" for name in self.recordings)),
        }

    def windows(self, recording: str) -> WindowBatch:
        """Windows of one file, see `dataset.Dataset.windows`.

        Raises:
            InputError: a file is damaged, lacks a lead, has NaN or a constant lead, or is too short.
        """
        subject = self.recordings[recording]
        label = int(recording[-1]) - 1
        path = self.files[subject][label]
        both = read_edf(path, (*self.eeg_leads, self.ecg_lead), unit="uV", subject=subject)
        duration_s = both.duration_s
        if duration_s < _PART_S:
            raise InputError(
                f"{path}: {duration_s:.3f} s long, {_PART_S:g} s are needed. Leave the subject out."
            )
        start_s = duration_s - _PART_S if label == 0 else 0.0
        recipes = {"eeg": self.eeg_recipe, "ecg": self.ecg_recipe}
        rows = {"eeg": slice(0, -1), "ecg": slice(-1, None)}
        signals = {
            name: (prepare(_part(both, rows[name]), recipe), recipe.sampling_rate_hz)
            for name, recipe in recipes.items()
        }
        cuts = cut_together(
            signals,
            self.window_s,
            self.step_s,
            name=path.name,
            start_s=start_s,
            stop_s=start_s + _PART_S,
        )
        arrays = {name: layout(cuts[name], recipe) for name, recipe in recipes.items()}
        labels = np.full(len(arrays["eeg"]), label)
        starts = start_s + self.step_s * np.arange(len(labels))
        return WindowBatch(arrays, labels, subject, recording, start_s=starts)


def _part(recording: Recording, rows: slice) -> Recording:
    return Recording(
        recording.signal[rows],
        recording.sampling_rate_hz,
        recording.leads[rows],
        recording.unit[rows],
        recording.name,
        recording.subject,
    )
