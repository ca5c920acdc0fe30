"""Small files in EEGMAT's layout."""

from pathlib import Path

import numpy as np

from tests.jaxbridge.data.edf_writer import write_edf

LEADS = ("EEG F3", "EEG C3", "EEG T3", "ECG ECG")
RATE = 500.0


def signals(subject: int, part: int, seconds: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([subject, part])
    t = np.arange(int(seconds * RATE)) / RATE
    eeg = {lead: 20 * np.sin(2 * np.pi * 10 * t) + rng.normal(0, 10, t.size) for lead in LEADS[:3]}
    beats = 800 * np.sin(np.pi * (1 + 0.3 * part) * t) ** 40 + rng.normal(0, 5, t.size)
    return eeg | {LEADS[3]: beats}


def write_subjects(folder: Path, count: int, rest_s: int = 65, task_s: int = 62) -> None:
    for subject in range(count):
        for part, seconds in ((1, rest_s), (2, task_s)):
            path = folder / f"Subject{subject:02}_{part}.edf"
            write_edf(path, signals(subject, part, seconds), sampling_rate_hz=RATE)
