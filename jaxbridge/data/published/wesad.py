"""WESAD: ECG and PPG of people at rest, under stress and amused (Schmidt et al., ICMI 2018).

Layout: `Sk/Sk.pkl`, a pickle of Python 2 with signal.chest.ECG (700 Hz), signal.wrist.BVP (64 Hz) and
label (700 Hz; 0 transient, 1 baseline, 2 stress, 3 amusement, 4 meditation, 5 to 7 to be ignored).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.signal  # noqa: F401  loaded before workers are forked, not in each

from jaxbridge.data.checks import check_durations
from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.published.array_pickle import read_array_pickle
from jaxbridge.data.published.encoder_input import SingleLead, published_recipe
from jaxbridge.data.published.labelled_windows import labelled_windows
from jaxbridge.data.published.source_files import existing_folder, leave_out
from jaxbridge.data.recipes import layout, prepare
from jaxbridge.data.recording import Recording
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import count_windows
from model_ports.errors import InputError

SUBJECTS = tuple(f"S{number}" for number in range(2, 18) if number != 12)
ECG_HZ, PPG_HZ = 700.0, 64.0
_CLASS_NAMES = {3: ("baseline", "stress", "amusement"), 2: ("no stress", "stress")}
_WANTED = (1, 2, 3)
# Position among the wanted labels -> class.
_CLASS_OF = {3: np.array([0, 1, 2]), 2: np.array([0, 1, 0])}
_MAX_LABEL = 7
_TOLERANCE_S = 1.0
_FOLDER = re.compile(r"^S\d+$")


@dataclass(frozen=True)
class Wesad:
    """The data set as windows of 'ecg' and 'ppg'; see `dataset.Dataset`.

    Prepared as by BioX-Bridge: each signal as its encoder's recipe says, z-scored over the whole
    recording; windows that one of the labels baseline, stress and amusement fills.

    Attributes:
        folder: with S2, S3, ...
        ecg_encoder, ppg_encoder: encoders to prepare for.
        classes: 3 (baseline, stress, amusement) or 2 (stress against the others).
        window_s, step_s: length and distance of windows in seconds.
        missing_leads: what ECG-FM reads in place of the eleven leads that are not there, "zero" or
            "repeat".
        without: subjects to leave out.

    Raises:
        InputError: an unknown encoder, number of classes or choice; a window that does not fit a rate.
    """

    folder: str | Path
    ecg_encoder: str = "hubert_ecg_small"
    ppg_encoder: str = "papagei"
    classes: int = 3
    window_s: float = 60.0
    step_s: float = 5.0
    missing_leads: str = "zero"
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes not in _CLASS_NAMES:
            raise InputError(f"WESAD has 2 or 3 classes, not {self.classes!r}.")
        for rate in (self._ecg.recipe.sampling_rate_hz, self._ppg.sampling_rate_hz, ECG_HZ):
            count_windows(0, rate, self.window_s, self.step_s)

    @staticmethod
    def how_to_get() -> str:
        """Where the files are, on which terms, and how they have to lie."""
        return (
            "WESAD: https://ubicomp.eti.uni-siegen.de/home/datasets/icmi18/ (also\n"
            "https://archive.ics.uci.edu/dataset/465), doi 10.1145/3242969.3242985. Free for\n"
            "scientific, non-commercial use, with its paper cited. One zip file of some GB; keep 20\n"
            "GB free for what is in it. Unpack it and name the folder with the 15 subjects:\n"
            "    S2/S2.pkl  S3/S3.pkl  ...  S17/S17.pkl    (there is no S12)"
        )

    @property
    def _ecg(self) -> SingleLead:
        return SingleLead(self.ecg_encoder, self.missing_leads)

    @property
    def _ppg(self):
        return published_recipe(self.ppg_encoder)

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """Recording ('S2') -> subject, the same, sorted.

        Raises:
            InputError: no such folder; no subject in it; a subject without its pickle; a subject to
                leave out that is not there.
        """
        folder = existing_folder(self.folder, self.how_to_get())
        found = [path.name for path in folder.iterdir() if _FOLDER.match(path.name)]
        if not found:
            raise InputError(f"{folder} has no folders S2, S3, ...\n{self.how_to_get()}")
        left = leave_out(found, self.without, folder)
        for name in left:
            if not self._path(name).is_file():
                raise InputError(
                    f"{self._path(name)} is missing. Get it, or leave {name} out.\n{self.how_to_get()}"
                )
        return {name: name for name in left}

    def check(self) -> list[str]:
        """What is missing of the published data set, one line each; a pickle is not read.

        Raises:
            InputError: see `recordings`.
        """
        missing = [name for name in SUBJECTS if name not in self.recordings]
        return [f"{name}/{name}.pkl is missing" for name in missing if name not in self.without]

    def sources_of(self, recording: str) -> Sequence[str]:
        return (f"{recording}/{recording}.pkl",)

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        ecg, ppg = self._ecg, self._ppg
        return {
            "dataset": "wesad",
            "modalities": {
                "ecg": {
                    "sampling_rate_hz": ecg.recipe.sampling_rate_hz,
                    "unit": ecg.recipe.output_unit,
                    "leads": list(ecg.leads),
                    "preprocessing": ecg.recipe.as_dict() | {"missing_leads": self.missing_leads},
                },
                "ppg": {
                    "sampling_rate_hz": ppg.sampling_rate_hz,
                    "unit": ppg.output_unit,
                    "leads": ["BVP"],
                    "preprocessing": ppg.as_dict(),
                },
            },
            "class_names": list(_CLASS_NAMES[self.classes]),
            "labels": "one of 1 baseline, 2 stress, 3 amusement for the whole window",
            "window_s": float(self.window_s),
            "step_s": float(self.step_s),
            "sources": sha256_of_files(
                self.folder, (file for name in self.recordings for file in self.sources_of(name))
            ),
        }

    def windows(self, recording: str) -> WindowBatch:
        """Reads one subject.

        Raises:
            InputError: a pickle that is damaged, runs code, lacks a signal or is another subject's; NaN
                or a constant signal; signals of different duration; unknown labels.
        """
        path = self._path(recording)
        content = read_array_pickle(path)
        if (named := _entry(content, path, "subject")) != recording:
            raise InputError(f"{path} is of subject {named!r}. Get the right file.")
        signals = {
            "ecg": _signal(content, path, "chest", "ECG"),
            "ppg": _signal(content, path, "wrist", "BVP"),
        }
        labels = _labels(content, path)
        del content
        durations = {
            "ECG": len(signals["ecg"]) / ECG_HZ,
            "BVP": len(signals["ppg"]) / PPG_HZ,
            "label": len(labels) / ECG_HZ,
        }
        check_durations(durations, str(path), tolerance_s=_TOLERANCE_S)
        ecg, ppg = self._ecg, self._ppg

        def recorded(signal, rate, lead, unit):
            return Recording(signal[None], rate, (lead,), unit, str(path), recording)

        found = labelled_windows(
            {
                "ecg": (
                    prepare(recorded(signals["ecg"], ECG_HZ, "ECG", "mV"), ecg.recipe),
                    ecg.recipe.sampling_rate_hz,
                ),
                "ppg": (
                    prepare(recorded(signals["ppg"], PPG_HZ, "BVP", "a.u."), ppg),
                    ppg.sampling_rate_hz,
                ),
            },
            labels, ECG_HZ, wanted=_WANTED, share=1.0, window_s=self.window_s, step_s=self.step_s,
        )
        arrays = {
            "ecg": ecg.layout(found.arrays["ecg"]), "ppg": layout(found.arrays["ppg"], ppg),
        }
        classes = _CLASS_OF[self.classes][found.labels]
        return WindowBatch(arrays, classes, recording, recording, start_s=found.start_s)

    def _path(self, recording: str) -> Path:
        return Path(self.folder) / self.sources_of(recording)[0]


def _entry(content: object, path: Path, *keys: str) -> object:
    for depth, key in enumerate(keys):
        if not isinstance(content, dict) or key not in content:
            raise InputError(
                f"{path} has no entry {'.'.join(keys[: depth + 1])}: it is not in WESAD's layout. "
                "Get the file again."
            )
        content = content[key]
    return content


def _array(content: object, path: Path, *keys: str) -> np.ndarray:
    found = _entry(content, path, *keys)
    name = ".".join(keys)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise InputError(f"{path}: {name} is no array of numbers. Get the file again.")
    if found.shape not in ((found.size,), (found.size, 1)):
        raise InputError(
            f"{path}: {name} has shape {found.shape}, one column is wanted. Get the file again."
        )
    return found.reshape(-1)


def _signal(content: object, path: Path, device: str, name: str) -> np.ndarray:
    return _array(content, path, "signal", device, name).astype(np.float64)


def _labels(content: object, path: Path) -> np.ndarray:
    labels = _array(content, path, "label")
    with np.errstate(invalid="ignore"):
        codes = labels.astype(np.int8)
    bad = np.flatnonzero((codes != labels) | (codes < 0) | (codes > _MAX_LABEL))
    if bad.size:
        raise InputError(
            f"{path}: label {labels[bad[0]]:g} at sample {bad[0]} ({bad[0] / ECG_HZ:.3f} s) is none of "
            f"0 to {_MAX_LABEL}. Get the file again."
        )
    return codes
