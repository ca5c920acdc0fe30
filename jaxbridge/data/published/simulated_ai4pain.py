"""Small files in AI4PAIN's layout, with simulated signals: for tests and dry runs.

Pain makes the skin conductance rise within a trial, the pulse faster and smaller, the breath faster;
oxygen saturation tells nothing. People differ in all of it. It is a test bed, no model of physiology.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxbridge.data.published.ai4pain import MODALITIES, SAMPLING_RATE_HZ

# Condition -> pain in 0..1.
_PAIN = {"Baseline": 0.0, "REST": 0.0, "LOW": 0.5, "HIGH": 1.0}


def write_ai4pain(
    folder: str | Path, subjects: Mapping[str, int], *, trials: int = 12, baseline_s: float = 60.0,
    seed: int = 0,
) -> None:
    """Writes four files per subject; about 1 MB each with 12 trials.

    Args:
        folder: made where it does not exist.
        subjects: partition -> how many; numbered on from 1. Columns of "test" state no condition.
        trials: of low and of high pain.
        baseline_s: length of the baseline.
        seed: with the subject's number, fixes the signals.
    """
    number = 0
    for partition, count in subjects.items():
        for _ in range(count):
            number += 1
            _write_subject(Path(folder) / partition, str(number), partition, trials, baseline_s,
                           np.random.default_rng([seed, number]))


def _write_subject(
    folder: Path, subject: str, partition: str, trials: int, baseline_s: float,
    rng: np.random.Generator,
) -> None:
    painful = rng.permutation(["LOW", "HIGH"] * trials)
    numbers = {"LOW": 0, "HIGH": 0, "REST": 0}
    conditions = [("Baseline", 1)]
    for i, condition in enumerate(painful):
        for name in (condition, "REST") if i + 1 < len(painful) else (condition,):
            numbers[name] += 1
            conditions.append((str(name), numbers[name]))
    person = {"pulse": rng.normal(1.1, 0.08), "breath": rng.normal(0.25, 0.02)}
    columns, signals = [], {name: [] for name in MODALITIES}
    for i, (condition, k) in enumerate(conditions, 1):
        columns.append(f"{subject}_{i}" if partition == "test" else f"{subject}_{condition}_{k}")
        seconds = baseline_s if condition == "Baseline" else rng.uniform(9.5, 11.2)
        for name, signal in _trial(_PAIN[condition], seconds, person, rng).items():
            signals[name].append(signal)
    for name, file in MODALITIES.items():
        path = folder / file / f"{subject}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = max(map(len, signals[name]))
        table = np.full((rows, len(columns)), "", dtype=object)
        for i, signal in enumerate(signals[name]):
            table[: len(signal), i] = [f"{value:.5f}" for value in signal]
        lines = [",".join(columns), *(",".join(row) for row in table)]
        path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _trial(
    pain: float, seconds: float, person: Mapping[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    at = np.arange(round(seconds * SAMPLING_RATE_HZ)) / SAMPLING_RATE_HZ
    pulse = person["pulse"] * (1 + 0.35 * pain + 0.03 * rng.standard_normal())
    breath = person["breath"] * (1 + 0.6 * pain + 0.05 * rng.standard_normal())
    phase, turn = rng.uniform(0, 2 * np.pi, 2)
    beat = np.sin(2 * np.pi * pulse * at + phase)
    drift = rng.standard_normal(len(at)).cumsum() / SAMPLING_RATE_HZ**0.5
    return {
        "eda": 5 + 2 * pain / (1 + np.exp(2.5 - at)) - 0.02 * at + 0.05 * drift,
        "bvp": (1 - 0.5 * pain) * (beat + 0.4 * np.sin(4 * np.pi * pulse * at + 2 * phase))
        + 0.05 * rng.standard_normal(len(at)),
        "resp": np.sin(2 * np.pi * breath * at + turn) + 0.05 * rng.standard_normal(len(at)),
        "spo2": np.round(98 + 0.3 * drift),
    }
