"""A bridge's training step beside that of knowledge distillation (`--what=distillation`).

Both are this package's, in published shapes with random weights; pseudo-labels, bridge inputs and
targets are captured once for either and take their share of an epoch.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker
from launch.published.directions import direction

METHODS = ("bridge", "KD")


class Case(NamedTuple):
    """Windows per step, and steps per timed call: several where they are short (see `train.Case`)."""

    batch: int
    steps: int


# Four directions with a large new encoder, one with a large old one.
CASES = {
    "wesad_ppg2ecg": Case(16, 8), "isruc_eeg2ecg": Case(16, 8), "wesad_ppg2ecg_ecg_fm": Case(2, 1),
    "isruc_eeg2ecg_ecg_fm": Case(2, 1), "fog_emg2eeg": Case(2, 2),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        directions: which of `CASES`.
        rounds: alternations per row at most.
        row_s: seconds after which a row gets no further round (two it always gets).
        threads: CPU cores of each process.
    """

    directions: tuple[str, ...] = tuple(CASES)
    rounds: int = 3
    row_s: float = 90.0
    threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One direction. Seconds are medians over rounds; ratios are medians of the rounds' ratios.

    Attributes:
        direction, batch: what was trained, windows per step.
        parameters, kd_parameters: trained ones.
        rounds: measured alternations.
        step_s, step_cpu_s, kd_step_s, kd_step_cpu_s: of a step, with the batch's share of the
            capture over the direction's epochs.
        times_faster, times_faster_cpu: distillation / bridge, wall and CPU.
        gflop, kd_gflop, mb, kd_mb: what XLA states of a step: operations per window, and the
            memory held at the peak (parameters, optimizer state, batch, activations), the batch
            whole.
        times_smaller: `kd_mb` / `mb`.
        peak_mb, kd_peak_mb: peak memory of the processes, capture and compilation included.
        note: what departs from the above.
    """

    direction: str
    batch: int
    parameters: int
    kd_parameters: int
    rounds: int
    step_s: float
    step_cpu_s: float
    kd_step_s: float
    kd_step_cpu_s: float
    times_faster: float
    times_faster_cpu: float
    gflop: float
    kd_gflop: float
    mb: float
    kd_mb: float
    times_smaller: float
    peak_mb: float
    kd_peak_mb: float
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes."""
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "rows": [],
    }
    for name in settings.directions:
        row = _measured(name, CASES[name], settings)
        report["rows"].append(dataclasses.asdict(row))
        tell(TABLE.line(row))
    return report


def _measured(name: str, case: Case, settings: Settings) -> Row:
    with contextlib.ExitStack() as stack:
        workers, loaded, calls = {}, {}, {}
        for method in METHODS:
            worker = stack.enter_context(
                Worker("launch.benchmarks.train_worker", threads=settings.threads)
            )
            loaded[method] = worker.ask(
                "load", direction=name, batch=case.batch, steps=case.steps, method=method
            )
            calls[f"{method} step"] = _call(worker, "step", 1 / case.steps)
            calls[f"{method} capture"] = _call(worker, "capture")
            workers[method] = worker
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        for method, worker in workers.items():
            loaded[method]["peak"] = worker.ask("peak")
            loaded[method] |= worker.ask("program")
    return row(name, case.batch, loaded, found)


def _call(worker: Worker, what: str, share: float = 1.0) -> Callable[[], Seconds]:
    return lambda: Seconds(*worker.ask("call", what=what)).scaled(share)


def row(
    name: str, batch: int, loaded: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, list[Seconds]],
) -> Row:
    """Returns a line from what the workers told.

    Args:
        name, batch: what was measured.
        loaded: method -> "parameters", "peak" (bytes), "gflop" (per window) and "mb".
        found: seconds per round of "bridge step", "bridge capture" and the same of "KD".
    """
    epochs = direction(name).bridge.epochs
    whole = {
        method: [
            Seconds(*(a + b / epochs for a, b in zip(step, capture, strict=True)))
            for step, capture in zip(
                found[f"{method} step"], found[f"{method} capture"], strict=True
            )
        ]
        for method in METHODS
    }
    bridge, kd = loaded["bridge"], loaded["KD"]
    ours, theirs = timing.median(whole["bridge"]), timing.median(whole["KD"])
    faster = timing.ratio(whole["KD"], whole["bridge"])
    return Row(
        direction=name, batch=batch, parameters=bridge["parameters"],
        kd_parameters=kd["parameters"], rounds=len(whole["KD"]), step_s=ours.wall,
        step_cpu_s=ours.cpu, kd_step_s=theirs.wall, kd_step_cpu_s=theirs.cpu,
        times_faster=faster.wall, times_faster_cpu=faster.cpu, gflop=bridge["gflop"],
        kd_gflop=kd["gflop"], mb=bridge["mb"], kd_mb=kd["mb"], times_smaller=kd["mb"] / bridge["mb"],
        peak_mb=bridge["peak"] / 2**20, kd_peak_mb=kd["peak"] / 2**20,
    )


TABLE = tables.Table("distillation", Row, (
    ("direction", "direction", "{:<}", 20), ("batch", "batch", "{}", 5),
    ("parameters", "trained", "{:,}", 10), ("kd_parameters", "KD trained", "{:,}", 11),
    ("step_s", "step s", "{:.3f}", 7), ("kd_step_s", "KD s", "{:.3f}", 7),
    ("times_faster", "x faster", "{:.1f}", 8), ("times_faster_cpu", "x CPU", "{:.1f}", 6),
    ("gflop", "GFLOP per window", "{:.2g}", 16), ("kd_gflop", "KD", "{:.2g}", 6),
    ("mb", "step MB", "{:.0f}", 7), ("kd_mb", "KD MB", "{:.0f}", 7),
    ("times_smaller", "x less", "{:.1f}", 6), ("peak_mb", "process MB", "{:.0f}", 10),
    ("kd_peak_mb", "KD process MB", "{:.0f}", 13), ("rounds", "n", "{}", 2),
))
header, write = TABLE.header, TABLE.write


def table(report: Mapping[str, Any]) -> str:
    """The whole table as Markdown, and the machine below it."""
    return f"{tables.markdown(TABLE.columns, TABLE.rows(report))}\n\n{report['machine']}"
