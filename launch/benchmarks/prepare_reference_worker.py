"""Worker that runs the reference's own preparation code, from a checkout of BioX-Bridge.

Its scripts are loaded as modules and their function per file is called for every file, as their last
lines do; FOG's then deals the windows out to folders of the splits, by copying them. What they import
without need (PyTorch, MNE) may be missing; for BioSPPy's filter SciPy stands in where it is not
installed. Python-2 pickles are read with latin-1 strings, as the pandas of their day did. FOG's wavelet
transforms are left out, since in this package they are the encoder's.
"""

import contextlib
import importlib.util
import io
import pathlib
import pickle
import random
import shutil
import sys
import types
from collections.abc import Callable, Iterator

import scipy.signal

from launch.benchmarks import timing
from launch.benchmarks.worker import serve
from model_ports.errors import InputError

# FOG's splits, as ratios.
_SPLITS = {"train": 33, "val": 11, "pair": 33, "test": 22}
_SCRIPTS = {"wesad": "make_WESAD.py", "isruc": "make_ISRUC.py", "fog": "make_FOG.py"}


def _filter_signal(signal, ftype, band, order, frequency, sampling_rate):  # noqa: ARG001
    taps = scipy.signal.firwin(order + 1, frequency, pass_zero=False, fs=sampling_rate)
    return scipy.signal.filtfilt(taps, [1.0], signal), sampling_rate, None


def _read_pickle(path: str) -> dict:
    with open(path, "rb") as file:
        return pickle.load(file, encoding="latin1")


def _stand_ins() -> list[str]:
    """Puts something in the place of what is not installed; returns the names."""
    missing = []
    for name in ("torch", "mne", "tqdm", "matplotlib", "matplotlib.pyplot", "biosppy"):
        try:
            found = importlib.util.find_spec(name) is not None
        except (ModuleNotFoundError, ValueError):
            found = name in sys.modules
        if not found:
            sys.modules[name] = types.ModuleType(name)
            missing.append(name)
    if "tqdm" in missing:
        sys.modules["tqdm"].tqdm = lambda items, **_: items
    if "biosppy" in missing:
        tools = types.ModuleType("biosppy.signals.tools")
        tools.filter_signal = _filter_signal
        sys.modules |= {
            "biosppy.signals": types.ModuleType("biosppy.signals"), "biosppy.signals.tools": tools
        }
    return missing


def _jobs(dataset: str, folder: pathlib.Path, out: pathlib.Path, module) -> Iterator[Callable]:
    """One call per file, in the directory's order."""
    args = types.SimpleNamespace(output_dir=str(out))
    if dataset == "wesad":
        args.wesad_path, args.ecgfm, args.ppgfm = str(folder), "hubertecg", "papagei"
        args.num_classes, args.segment_length, args.step_size = 3, 60, 5
        names = [path.name for path in folder.iterdir()]
    elif dataset == "isruc":
        args.isruc_path, args.ecgfm, args.eegfm = str(folder), "hubertecg", "labram"
        args.num_classes = 2
        names = [path.name for path in (folder / "ExtractedChannels").iterdir()]
    else:
        args.eegfm, args.emgfm, args.eegznorm = "labram", "normwear", 0
        args.segment_length, args.step_size = 3, 0.3
        for file in (folder / "FilteredData").rglob("*.txt"):
            yield lambda file=file: module.preprocess_split_save(args, str(file))
        return
    for name in names:
        yield lambda name=name: module.preprocess_split_save(args, "train", name)


def _deal(place: pathlib.Path) -> None:
    """Copies windows into folders of the splits at random."""
    files = list((place / "all").iterdir())
    random.shuffle(files)
    start = 0
    for split, ratio in _SPLITS.items():
        stop = start + round(ratio / sum(_SPLITS.values()) * len(files))
        (place / split).mkdir()
        for file in files[start:stop]:
            shutil.copy2(file, place / split / file.name)
        start = stop


class _Reference:
    def load(self, checkout: str, dataset: str) -> list[str]:
        """Loads a script; returns what something stands in for."""
        path = pathlib.Path(checkout) / "dataset_preprocessing" / _SCRIPTS[dataset]
        if not path.is_file():
            raise InputError(f"{path} is missing: --reference needs a checkout of BioX-Bridge.")
        missing = _stand_ins()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        self._module, self._dataset = importlib.util.module_from_spec(spec), dataset
        spec.loader.exec_module(self._module)
        for name in missing:
            sys.modules.pop(name, None)  # SciPy looks whether PyTorch is there
        random.seed(0)
        if dataset == "wesad":
            self._module.pd.read_pickle = _read_pickle
        elif dataset == "fog":
            self._module.spec_cwt = lambda window: window
            missing.append("spec_cwt")
        return missing

    def prepare(self, folder: str, out: str) -> timing.Seconds:
        """Everything from files to one .npz file per window."""
        shutil.rmtree(out, ignore_errors=True)
        place = pathlib.Path(out)
        (place / ("all" if self._dataset == "fog" else "train")).mkdir(parents=True)

        def call() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                for job in _jobs(self._dataset, pathlib.Path(folder), place, self._module):
                    job()
                if self._dataset == "fog":
                    _deal(place)

        timing.reset_peak_memory()
        return timing.timed(call)

    def peak(self) -> int:
        """Peak memory of the process since it began to prepare, bytes."""
        return timing.peak_memory_bytes()


if __name__ == "__main__":
    reference = _Reference()
    serve({name: getattr(reference, name) for name in ("load", "prepare", "peak")})
