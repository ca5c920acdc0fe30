"""Simulated paired EEG and ECG of people at rest and under mental load.

What is put in, each with spread between people: under load the occipital alpha rhythm weakens and
frontal theta grows; the heart beats faster and its respiratory variability shrinks. Alpha wanders
within a recording, and noise, mains hum, blinks, muscle bursts and electrode motion are added, so
that neither signal decides alone. It is a test bed, no model of physiology.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.data.physiology import add_beat, band_noise, bursts, pink_noise, slow_wander
from jaxbridge.data.recipes import Recipe, layout, prepare, recipe
from jaxbridge.data.recording import Recording
from jaxbridge.data.splits import SplitRule
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import cut_together

CLASSES = ("rest", "load")
EEG_LEADS = ("F3", "F4", "O1", "O2")
ECG_LEADS = ("ECG",)
_EEG_HZ, _ECG_HZ = 250.0, 500.0
# How strongly each EEG lead sees the rhythms and the eyes.
_ALPHA = np.array([0.3, 0.3, 1.0, 1.0])
_THETA = np.array([1.0, 1.0, 0.2, 0.2])
_EYES = np.array([1.0, 1.0, 0.05, 0.05])


class Pair(NamedTuple):
    """Simultaneous recordings of one person in one condition.

    Attributes:
        eeg: four leads at 250 Hz in uV.
        ecg: one lead at 500 Hz in mV.
        label: index into `CLASSES`.
    """

    eeg: Recording
    ecg: Recording
    label: int


@dataclasses.dataclass(frozen=True)
class _Person:
    """Traits drawn once per person."""

    alpha_hz: float
    alpha_uv: float
    alpha_under_load: float
    theta_under_load: float
    rest_bpm: float
    load_bpm: float
    variability: float
    variability_under_load: float
    breath_hz: float
    r_mv: float


def _person(rng: np.random.Generator) -> _Person:
    rest = rng.normal(66, 6)
    return _Person(
        alpha_hz=rng.normal(10, 0.7),
        alpha_uv=16 * np.exp(rng.normal(0, 0.25)),
        alpha_under_load=np.clip(rng.normal(0.35, 0.08), 0.2, 1),
        theta_under_load=np.clip(rng.normal(1.4, 0.2), 0.9, 2),
        rest_bpm=rest,
        load_bpm=rest + np.clip(rng.normal(32, 8), 8, 50),
        variability=0.05 * np.exp(rng.normal(0, 0.3)),
        variability_under_load=np.clip(rng.normal(0.45, 0.15), 0.1, 1),
        breath_hz=np.clip(rng.normal(0.25, 0.04), 0.15, 0.4),
        r_mv=np.exp(rng.normal(0, 0.2)),
    )


def subject_name(number: int) -> str:
    return f"S{number:03d}"


def recording_name(number: int, label: int) -> str:
    return f"{subject_name(number)}_{CLASSES[label]}"


def simulate(subjects: int, *, duration_s: float = 120.0, seed: int = 0) -> Iterator[Pair]:
    """Yields two pairs (rest, load) for each of `subjects` people.

    Each recording depends on (seed, subject, condition) alone.
    """
    for number in range(subjects):
        for label in range(len(CLASSES)):
            yield _pair(number, label, duration_s, seed)


def _pair(number: int, label: int, duration_s: float, seed: int) -> Pair:
    person = _person(np.random.default_rng([seed, number]))
    rng = np.random.default_rng([seed, number, label])
    common = {"name": recording_name(number, label), "subject": subject_name(number)}
    return Pair(
        Recording(
            signal=_eeg(person, label, duration_s, rng), sampling_rate_hz=_EEG_HZ,
            leads=EEG_LEADS, unit="uV", **common,
        ),
        Recording(
            signal=_ecg(person, label, duration_s, rng)[None], sampling_rate_hz=_ECG_HZ,
            leads=ECG_LEADS, unit="mV", **common,
        ),
        label,
    )


def _eeg(person: _Person, label: int, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    samples = int(duration_s * _EEG_HZ)
    shape = (len(EEG_LEADS), samples)
    alpha_uv = person.alpha_uv * (person.alpha_under_load if label else 1.0)
    theta_uv = 4.0 * (person.theta_under_load if label else 1.0)
    # alertness wanders over tens of seconds and takes alpha along
    wander = np.exp(0.3 * slow_wander(rng, samples, _EEG_HZ))
    alpha = band_noise(rng, (samples,), person.alpha_hz - 1, person.alpha_hz + 1, _EEG_HZ) * wander
    theta = band_noise(rng, (samples,), 4, 7, _EEG_HZ)
    eeg = 10 * pink_noise(rng, shape, _EEG_HZ)
    eeg += alpha_uv * _ALPHA[:, None] * alpha + theta_uv * _THETA[:, None] * theta
    eeg += 80 * _EYES[:, None] * bursts(rng, samples, _EEG_HZ, 12, 0.1)
    muscle = bursts(rng, samples, _EEG_HZ, 4, 0.5)
    eeg += 6 * muscle * rng.uniform(0, 1, (len(EEG_LEADS), 1)) * rng.standard_normal(shape)
    return eeg + 2 * np.sin(2 * np.pi * 50 * np.arange(samples) / _EEG_HZ + rng.uniform(0, 6.28))


def _ecg(person: _Person, label: int, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    samples = int(duration_s * _ECG_HZ)
    time_s = np.arange(samples) / _ECG_HZ
    bpm = person.load_bpm if label else person.rest_bpm
    variability = person.variability * (person.variability_under_load if label else 1.0)
    phase = rng.uniform(0, 2 * np.pi)
    ecg = np.zeros(samples)
    beat_s = rng.uniform(0, 60 / bpm)
    drift = 0.06 * slow_wander(rng, samples, _ECG_HZ)
    while beat_s < duration_s:
        now = min(int(beat_s * _ECG_HZ), samples - 1)
        breath = np.sin(2 * np.pi * person.breath_hz * beat_s + phase)
        rr_s = 60 / bpm * (1 + variability * breath + 0.01 * rng.standard_normal() + drift[now])
        add_beat(ecg, time_s, beat_s, rr_s, person.r_mv)
        beat_s += rr_s
    ecg += 0.15 * np.sin(2 * np.pi * person.breath_hz * time_s + phase)
    ecg += 0.03 * rng.standard_normal(samples) + 0.02 * np.sin(2 * np.pi * 50 * time_s)
    return ecg + 0.8 * bursts(rng, samples, _ECG_HZ, 2, 0.3)


SIZES = {"train": 16, "val": 5, "pair": 14, "test": 10}


@dataclasses.dataclass(frozen=True)
class Simulated:
    """Simulated windows, for `preparation.prepare(out, s, s.split)`.

    Attributes:
        eeg_recipe, ecg_recipe: preprocessing of the two modalities, 'eeg' and 'ecg'.
        duration_s: seconds per person and condition.
        window_s: length of a window in seconds; windows do not overlap.
        seed: fixes people, signals and `split`.
        sizes: people per split, see `splits.split_subjects`.
    """

    eeg_recipe: Recipe = dataclasses.field(default_factory=lambda: recipe("labram"))
    ecg_recipe: Recipe = dataclasses.field(default_factory=lambda: recipe("hubert_ecg"))
    duration_s: float = 120.0
    window_s: float = 10.0
    seed: int = 0
    sizes: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict(SIZES))

    @property
    def split(self) -> SplitRule:
        """By subject: everybody is in one of the splits."""
        return SplitRule(self.sizes, seed=self.seed)

    @functools.cached_property
    def recordings(self) -> Mapping[str, str]:
        """Recording -> person, for as many people as the splits need."""
        people = range(sum(self.sizes.values()))
        pairs = [(recording_name(i, label), subject_name(i)) for i in people for label in (0, 1)]
        return dict(sorted(pairs))

    @property
    def metadata(self) -> dict:
        """What decides the windows."""
        return {
            "dataset": "simulated rest and mental load",
            "class_names": list(CLASSES),
            "labels": "the condition",
            "sources": {},
            "modalities": {
                name: {
                    "leads": list(leads),
                    "sampling_rate_hz": recipe.sampling_rate_hz,
                    "unit": recipe.output_unit,
                    "preprocessing": recipe.as_dict(),
                }
                for name, leads, recipe in (
                    ("eeg", EEG_LEADS, self.eeg_recipe), ("ecg", ECG_LEADS, self.ecg_recipe)
                )
            },
            "duration_s": self.duration_s,
            "seed": self.seed,
            "window_s": self.window_s,
            "step_s": self.window_s,
        }

    def sources_of(self, recording: str) -> Sequence[str]:
        """No files."""
        return ()

    def windows(self, recording: str) -> WindowBatch:
        """Windows of one person in one condition, see `dataset.Dataset.windows`."""
        subject, condition = recording.rsplit("_", 1)
        number, label = int(subject[1:]), CLASSES.index(condition)
        pair = _pair(number, label, self.duration_s, self.seed)
        recipes = {"eeg": self.eeg_recipe, "ecg": self.ecg_recipe}
        signals = {
            "eeg": (prepare(pair.eeg, self.eeg_recipe), self.eeg_recipe.sampling_rate_hz),
            "ecg": (prepare(pair.ecg, self.ecg_recipe), self.ecg_recipe.sampling_rate_hz),
        }
        windows = cut_together(signals, self.window_s, self.window_s, name=recording)
        arrays = {name: layout(windows[name], recipes[name]) for name in windows}
        labels = np.full(len(arrays["eeg"]), label)
        starts = self.window_s * np.arange(len(labels))
        return WindowBatch(arrays, labels, subject, recording, start_s=starts)
