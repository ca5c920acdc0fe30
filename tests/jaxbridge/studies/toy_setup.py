"""The toy encoders and windows of the methods' tests as a setup for studies, on stores."""

import dataclasses
import pathlib

import numpy as np

from jaxbridge.data.store import WindowBatch, WindowStore, write_store
from jaxbridge.studies import Setup
from tests.jaxbridge.methods import toy_study

SETTINGS = dataclasses.replace(
    toy_study.SETTINGS, head=dataclasses.replace(toy_study.SETTINGS.head, epochs=10),
    bridge=dataclasses.replace(toy_study.SETTINGS.bridge, epochs=2),
)


def store(folder: pathlib.Path, seed: int = 0) -> WindowStore:
    """Returns 16 subjects' windows, 12 s each without a gap; the signals are unlike in every second."""
    if folder.exists():
        return WindowStore.open(folder)
    given, batches = toy_study.windows(seed), []
    for subject in dict.fromkeys(given.subjects.tolist()):
        rows = np.flatnonzero(given.subjects == subject)
        batches.append(WindowBatch(
            {name: given.read(name, rows) for name in given.modalities}, given.labels[rows], subject,
            subject, str(given.splits[rows[0]]), np.arange(float(len(rows))),
        ))
    metadata = {
        "class_names": ["low", "high"], "sources": {}, "window_s": 1.0, "step_s": 1.0,
        "modalities": {},
    }
    return write_store(folder, batches, metadata)


def setup(**changes) -> Setup:
    """Returns the toy as a setup; `sizes` are widths of the new encoder."""
    made = Setup(
        dataset="toy", settings=SETTINGS, windows=lambda seed, folder: store(folder, seed),
        encoders=lambda seed, size: toy_study.encoders(int(size or 8)), sizes=("4", "8"),
    )
    return dataclasses.replace(made, **changes)
