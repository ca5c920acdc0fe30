"""Two EDF files of one person, and the intervals of rest and load: simulated."""

from pathlib import Path

import numpy as np

from jaxbridge.data.simulation import CLASSES, simulate
from tests.jaxbridge.data.edf_writer import write_edf

PART_S = 20


def write_two_files(folder: Path, *, parts: int = 12, subjects: int = 1) -> None:
    """P01_eeg.edf (four leads, 250 Hz), P01_ecg.edf (500 Hz), P01_labels.csv: rest and load in turn."""
    each = PART_S * parts // 2
    pairs = list(simulate(subjects, duration_s=each))
    for number in range(subjects):
        stem = f"P{number + 1:02d}"
        both = pairs[2 * number : 2 * number + 2]
        eeg, ecg = (
            np.concatenate([
                getattr(both[i % 2], kind).signal[:, i // 2 * size : (i // 2 + 1) * size]
                for i in range(parts)
            ], axis=1)
            for kind, size in (("eeg", PART_S * 250), ("ecg", PART_S * 500))
        )
        leads = dict(zip((f"EEG {lead}-REF" for lead in both[0].eeg.leads), eeg, strict=True))
        write_edf(folder / f"{stem}_eeg.edf", leads, sampling_rate_hz=250.0)
        write_edf(folder / f"{stem}_ecg.edf", {"ECG": ecg[0]}, sampling_rate_hz=500.0, unit="mV",
                  physical_max=10)
        rows = [f"{PART_S * i},{PART_S},{CLASSES[i % 2]}" for i in range(parts)]
        (folder / f"{stem}_labels.csv").write_text("onset,duration,label\n" + "\n".join(rows) + "\n")
