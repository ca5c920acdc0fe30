"""Worker that simulates published data sets, prepares them, and compares with the reference."""

import itertools
import pathlib
import resource
import shutil
import time
from typing import Any

import numpy as np

from jaxbridge.data.preparation import prepare
from jaxbridge.data.published import simulated_files
from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.wesad import Wesad
from jaxbridge.data.splits import SplitRule
from jaxbridge.data.store import WindowStore
from launch.benchmarks import timing
from launch.benchmarks.worker import serve

_WRITE = {
    "wesad": simulated_files.write_wesad, "isruc": simulated_files.write_isruc,
    "fog": simulated_files.write_fog,
}
_READ = {"wesad": Wesad, "isruc": Isruc, "fog": Fog}
_EVERYTHING = SplitRule({"pair": 1.0})  # no class need be in it
# Name in the reference's files, and its factor on our values (it divides EEG by 100 when training).
_THEIRS = {"ecg": ("ECG", 1.0), "ppg": ("PPG", 1.0), "emg": ("EMG", 1.0), "eeg": ("EEG", 100.0)}
_PROBES = 64


class _Preparation:
    def simulate(self, dataset: str, folder: str, arguments: dict[str, Any]) -> int:
        """Writes files in the published layout; returns their bytes."""
        _WRITE[dataset](folder, **arguments)
        return sum(file.stat().st_size for file in pathlib.Path(folder).rglob("*") if file.is_file())

    def prepare(self, dataset: str, folder: str, out: str, workers: int) -> timing.Seconds:
        """Everything from files to a finished store, child processes included."""
        shutil.rmtree(out, ignore_errors=True)

        def clock() -> timing.Seconds:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = time.process_time() + used.ru_utime + used.ru_stime
            return timing.Seconds(time.perf_counter(), cpu)

        timing.reset_peak_memory()
        return timing.timed(
            lambda: prepare(out, _READ[dataset](folder), _EVERYTHING, workers=workers), clock
        )

    def peak(self) -> int:
        """Larger of this process's and its largest worker's peak memory, bytes."""
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return max(timing.peak_memory_bytes(), child)

    def compare(self, out: str, theirs: str) -> dict[str, Any]:
        """Our windows beside the reference's: how many, how many of them equal, and how far apart."""
        store = WindowStore.open(out)
        groups = _their_files(pathlib.Path(theirs))
        found = {"ours": store.num_windows, "theirs": 0, "both": 0, "labels_differ": 0, "error": 0.0}
        for recording in np.unique(store.recordings):
            chosen = np.flatnonzero(store.recordings == recording)
            ours = {
                _THEIRS[name][0]: _THEIRS[name][1] * store.read(name, chosen).reshape(len(chosen), -1)
                for name in store.modalities
            }
            files = groups.get(_their_name(str(recording)), [])
            found["theirs"] += len(files)
            loaded = [np.load(file) for file in files]
            match = _matches(ours, loaded)
            found["both"] += len(match)
            for i, j in match:
                found["labels_differ"] += int(loaded[j]["label"] != store.labels[chosen[i]])
                for name, values in ours.items():
                    wanted = loaded[j][name].reshape(-1)
                    error = np.abs(values[i] - wanted).max() / np.abs(wanted).max()
                    found["error"] = max(found["error"], float(error))
        return found


def _their_files(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """'subject_..' of the reference's files -> files in the order of their windows."""
    def key(file: pathlib.Path) -> tuple[str, int]:
        name, _, number = file.stem.partition("_segment_")
        return name, int(number)

    if (folder / "all").is_dir():  # the splits have copies of these
        folder = folder / "all"
    files = sorted(folder.rglob("*.npz"), key=key)
    return {name: list(some) for name, some in itertools.groupby(files, lambda file: key(file)[0])}


def _their_name(recording: str) -> str:
    if recording.startswith("subject"):
        return f"subject_{int(recording[7:]):03}"
    if recording.startswith("S"):
        return f"subject_{int(recording[1:]):02}"
    return f"subject_{recording.replace('/', '_')}"


def _matches(ours: dict[str, np.ndarray], theirs: list) -> list[tuple[int, int]]:
    """Pairs (ours, theirs) of the same moment, told by some samples of the first modality."""
    if not theirs:
        return []
    name, values = next(iter(ours.items()))
    at = np.linspace(0, values.shape[1] - 1, _PROBES).astype(int)
    probes = np.stack([window[name].reshape(-1)[at] for window in theirs])
    apart = np.abs(values[:, None, at] - probes[None]).max(axis=2)
    nearest = apart.argmin(axis=0)
    close = apart[nearest, np.arange(len(theirs))] < 0.01 * np.abs(probes).max()
    return [(int(nearest[j]), j) for j in np.flatnonzero(close)]


if __name__ == "__main__":
    preparation = _Preparation()
    serve({name: getattr(preparation, name) for name in ("simulate", "prepare", "peak", "compare")})
