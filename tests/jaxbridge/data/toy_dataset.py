"""A data set of small files, whose workers count what they do and can be told to fail."""

import hashlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxbridge.data.store import WindowBatch
from model_ports.errors import InputError


@dataclass(frozen=True)
class Toy:
    """Files `<subject>_<n>.npy` of (windows, 3, 50); label of window i is i % 2; steps of 1 s.

    A recording in `kills_worker` ends its worker, one in `kills_parent` the process `parent` (the
    first time it is read). What was read is noted in `log`.
    """

    folder: Path
    log: Path
    window_s: float = 2.0
    kills_worker: tuple[str, ...] = ()
    kills_parent: tuple[str, ...] = ()
    parent: int = 0

    @property
    def recordings(self):
        # In whatever order the folder is listed.
        return {path.stem: path.stem.split("_")[0] for path in self.folder.iterdir()}

    @property
    def metadata(self):
        return {
            "dataset": "toy",
            "modalities": {"eeg": {"sampling_rate_hz": 25.0}},
            "class_names": ["even", "odd"],
            "labels": "window number",
            "window_s": self.window_s,
            "step_s": 1.0,
            "sources": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.folder.iterdir()
            },
        }

    def sources_of(self, recording):
        return (f"{recording}.npy",)

    def windows(self, recording):
        if recording in self.kills_worker:
            os.kill(os.getpid(), signal.SIGKILL)
        path = self.folder / f"{recording}.npy"
        try:
            values = np.load(path)
        except ValueError as error:
            raise InputError(f"{path.name} is damaged: {error}. Get it again.") from error
        if values.ndim != 3:
            raise RuntimeError("not thought of")
        # A product large enough for several BLAS threads, whose number would change the bits.
        mixed = values @ np.random.default_rng(0).normal(size=(50, 50))
        with self.log.open("a") as file:
            heavy = sorted({"jax", "flax", "torch"} & set(sys.modules))
            threads = os.environ.get("OPENBLAS_NUM_THREADS")
            file.write(f"{recording} {os.getpid()} {threads} {','.join(heavy)}\n")
        read = [name for name, *_ in self.log_lines()]
        if recording in self.kills_parent and read.count(recording) == 1:
            os.kill(self.parent, signal.SIGKILL)
        count = len(values)
        return WindowBatch(
            {"eeg": mixed}, np.arange(count) % 2, recording.split("_")[0], recording,
            start_s=np.arange(count, dtype=float),
        )

    def log_lines(self):
        return [line.split(" ") for line in self.log.read_text().splitlines()]


def write_toy(folder: Path, names, windows: int = 6) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        np.save(folder / f"{name}.npy", np.random.default_rng(seed).normal(size=(windows, 3, 50)))
