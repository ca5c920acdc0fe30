"""Measures this package against what it replaces.

    python -m launch.benchmark --what=encoders --reference=CHECKOUTS --out=runs/benchmark

--what=encoders: batches through every encoder beside its PyTorch original, in two processes that
are called in turn. launch/benchmarks/pytorch_encoders.py says which checkouts --reference needs;
without it only ours are measured.

--what=scan: capture of all layers, probes and CKA beside the reference's way of selecting, and how
time and memory grow; --what=probes: of these the probes alone.

--what=train: a bridge's training step in three published directions beside the reference's, which
--reference_bench runs from a checkout of BioX-Bridge under --reference. On a machine with a GPU, where
both sides use it: --batches=16,256 --dtype=bfloat16.

--what=distillation: the same step beside knowledge distillation into the whole new encoder, both
this package's.

--what=remat: memory of that step and of one into ECG-FM, activations kept and recomputed;
--what=scaling: its work on 1, 2, 4 ... of the devices. Compiled, not run.

--what=billion: a bridge between two encoders of a billion parameters, compiled for several devices
and never allocated: what would each device need? Without several,
XLA_FLAGS=--xla_force_host_platform_device_count=8 simulates them.

--what=prepare: published data sets, simulated, from files to windows, beside the scripts of a checkout
of BioX-Bridge under --reference.

--what=representations: signals drawn as pictures, 64 at a time, beside Matplotlib.
"""

import pathlib
import sys
import time
from collections.abc import Iterable

from absl import flags

import model_ports as mp
from launch.benchmarks import distillation, encoders, prepare, representations, scan, train
from launch.script import run

_WHATS = [
    "encoders", "scan", "probes", "billion", "prepare", "representations", "train",
    "distillation", "remat", "scaling",
]
_WHAT = flags.DEFINE_enum("what", None, _WHATS, "What to measure.")
_MODELS = flags.DEFINE_list("models", None, "Encoders, model_ports.available() if left out.")
_BATCHES = flags.DEFINE_list(
    "batches", None, "Windows per call or step: encoders (1,16,64 if left out), train (those that suit "
    "a CPU, with a smaller one for the slow reference)."
)
_REFERENCE = flags.DEFINE_string("reference", None, "Folder with checkouts of the originals.")
_REFERENCE_BENCH = flags.DEFINE_string(
    "reference_bench", "../shared/reference_bench.py", "train: the script that runs the reference."
)
_DIRECTIONS = flags.DEFINE_list(
    "directions", None, "train, distillation: published directions to run."
)
_OUT = flags.DEFINE_string("out", None, "Folder for the results as JSON and CSV.")
_LARGEST = flags.DEFINE_integer(
    "largest", 1_000_000, "scan: windows of the largest streamed CKA.", lower_bound=1000
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "encoders, train: compute type."
)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Alternations per row, at most.", lower_bound=1)
_LONGEST_CALL = flags.DEFINE_float(
    "longest_call_s", encoders.Settings.longest_call_s,
    "encoders: a batch that would take longer is shrunk.", lower_bound=0.0,
)
_SCALE = flags.DEFINE_float("scale", 1.0, "prepare: factor on the simulated minutes.")
_THREADS = flags.DEFINE_integer("threads", 2, "CPU cores of each process.", lower_bound=1)


def main() -> None:
    if _WHAT.value is None:
        raise mp.InputError(f"--what is needed: {', '.join(_WHATS)}.")
    start = time.monotonic()

    def tell(what: str) -> None:
        print(f"[{time.monotonic() - start:6.1f} s] {what}", file=sys.stderr, flush=True)

    if _WHAT.value == "encoders":
        measured, settings = encoders, encoders.Settings(
            models=_models(), batches=_batches() or encoders.Settings.batches,
            reference=_reference(), dtype=_DTYPE.value,
            rounds=_REPEATS.value, longest_call_s=_LONGEST_CALL.value, threads=_THREADS.value,
        )
    elif _WHAT.value == "billion":
        from launch.benchmarks import billion  # the others leave JAX to their workers

        measured, settings = billion, billion.Settings()
    elif _WHAT.value == "prepare":
        measured, settings = prepare, prepare.Settings(
            reference=_reference(), rounds=_REPEATS.value, scale=_SCALE.value,
            threads=_THREADS.value,
        )
    elif _WHAT.value == "representations":
        measured, settings = representations, representations.Settings(
            rounds=_REPEATS.value, threads=_THREADS.value,
        )
    elif _WHAT.value in ("remat", "scaling"):
        from launch.benchmarks import step_programs

        measured, settings = step_programs, step_programs.Settings(
            what=_WHAT.value, ecg_fm=_WHAT.value == "remat"
        )
    elif _WHAT.value == "train":
        measured, settings = train, train.Settings(
            batches=_batches(), dtype=_DTYPE.value,
            reference=_reference(), reference_bench=_REFERENCE_BENCH.value,
            directions=_directions([case.direction for case in train.CASES]),
            rounds=_REPEATS.value, threads=_THREADS.value,
        )
    elif _WHAT.value == "distillation":
        measured, settings = distillation, distillation.Settings(
            directions=_directions(distillation.CASES), rounds=_REPEATS.value,
            threads=_THREADS.value,
        )
    else:
        measured, settings = scan, scan.Settings(
            reference=_reference(), rounds=_REPEATS.value, largest=_LARGEST.value,
            threads=_THREADS.value, only_probes=_WHAT.value == "probes",
        )
    tell(measured.header())
    report = measured.run(settings, tell)
    if _OUT.value:
        measured.write(report, pathlib.Path(_OUT.value))
    print(measured.table(report))


def _models() -> tuple[str, ...]:
    models = tuple(_MODELS.value or mp.available())
    if unknown := sorted(set(models) - set(mp.available())):
        raise mp.InputError(
            f"--models has {', '.join(unknown)}; there are {', '.join(mp.available())}."
        )
    return models


def _batches() -> tuple[int, ...] | None:
    if not _BATCHES.value:
        return None
    if not all(text.isdigit() and int(text) for text in _BATCHES.value):
        raise mp.InputError(f"--batches={','.join(_BATCHES.value)} must be numbers above 0.")
    return tuple(sorted({int(text) for text in _BATCHES.value}))


def _directions(measured: Iterable[str]) -> tuple[str, ...]:
    measured = tuple(dict.fromkeys(measured))
    chosen = tuple(_DIRECTIONS.value or measured)
    if unknown := sorted(set(chosen) - set(measured)):
        raise mp.InputError(
            f"--directions has {', '.join(unknown)}; measured are {', '.join(measured)}."
        )
    if _REFERENCE.value and not pathlib.Path(_REFERENCE_BENCH.value).is_file():
        raise mp.InputError(f"--reference_bench={_REFERENCE_BENCH.value} is no file.")
    return chosen


def _reference() -> str | None:
    if _REFERENCE.value and not pathlib.Path(_REFERENCE.value).is_dir():
        raise mp.InputError(f"--reference={_REFERENCE.value} is no folder.")
    return _REFERENCE.value


if __name__ == "__main__":
    run(main)
