"""A bridge's training step beside the reference's (`--what=train`)."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker
from launch.published.directions import DIRECTIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration.

    Attributes:
        direction: published direction.
        batch: windows per step.
        steps: steps per timed call of ours. A run's call takes an epoch, or hundreds of steps; a call
            of few would mostly measure how the kernel hands out and clears its memory.
        reference_batch: windows of the reference's step, scaled up to `batch` where it is smaller.
    """

    direction: str
    batch: int
    steps: int
    reference_batch: int


CASES = (
    Case(direction="wesad_ppg2ecg", batch=16, steps=8, reference_batch=16),
    Case(direction="isruc_eeg2ecg", batch=16, steps=8, reference_batch=16),
    Case(direction="fog_emg2eeg", batch=2, steps=2, reference_batch=2),
    # The reference would need two minutes and 17 GB for a step.
    Case(direction="fog_emg2eeg", batch=16, steps=1, reference_batch=2),
)


# Steps per timed call at batches that are asked for.
_STEPS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        batches: windows per step, of the reference too; None for those of `CASES`, which suit a CPU.
        dtype: of our encoders' arithmetic, "float32" or "bfloat16"; the reference computes in float32.
        reference: folder with a checkout of BioX-Bridge, or that checkout; None for JAX alone.
        reference_bench: the script that runs it.
        directions: which of the cases.
        rounds: alternations per row at most.
        row_s: seconds after which a row gets no further round (two it always gets).
        threads: CPU cores of each process.
    """

    batches: tuple[int, ...] | None = None
    dtype: str = "float32"
    reference: str | None = None
    reference_bench: str = "../shared/reference_bench.py"
    directions: tuple[str, ...] = tuple(dict.fromkeys(case.direction for case in CASES))
    rounds: int = 5
    row_s: float = 90.0
    threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line. Seconds are medians over rounds; ratios are medians of the rounds' ratios.

    Attributes:
        direction, batch: what was trained.
        device: that JAX ran on.
        parameters: trainable ones.
        rounds: measured alternations.
        step_s, step_cpu_s: of one training step on captured windows.
        capture_s, capture_cpu_s: of capturing a batch, new prefix and old encoder once each.
        amortised_s: step and the batch's share of the capture over the published epochs.
        samples_per_s: windows over `amortised_s`.
        tflop_per_s: arithmetic of a step, 1e12 operations, over `step_s`.
        compile_s: of training and of the capture.
        peak_mb: peak memory of our process, encoders, capture and compilation included; on an
            accelerator what JAX held there.
        reference_step_s, reference_step_cpu_s: of the reference's step.
        times_faster, times_faster_cpu: reference / `amortised_s`, wall and CPU.
        reference_peak_mb: peak memory of the reference's process, or what it held on its GPU.
        note: what departs from the above.
    """

    direction: str
    batch: int
    device: str
    parameters: int
    rounds: int
    step_s: float
    step_cpu_s: float
    capture_s: float
    capture_cpu_s: float
    amortised_s: float
    samples_per_s: float
    tflop_per_s: float
    compile_s: float
    peak_mb: float
    reference_step_s: float | None = None
    reference_step_cpu_s: float | None = None
    times_faster: float | None = None
    times_faster_cpu: float | None = None
    reference_peak_mb: float | None = None
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes."""
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "rows": [],
    }
    for case in cases(settings):
        row = _measured(case, settings)
        report["rows"].append(dataclasses.asdict(row))
        tell(TABLE.line(row))
    return report


def cases(settings: Settings) -> list[Case]:
    """Returns what the settings ask for."""
    if settings.batches is None:
        return [case for case in CASES if case.direction in settings.directions]
    return [
        Case(direction=name, batch=batch, steps=_STEPS, reference_batch=batch)
        for name in settings.directions for batch in settings.batches
    ]


def _measured(case: Case, settings: Settings) -> Row:
    start = functools.partial(Worker, threads=settings.threads)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(start("launch.benchmarks.train_worker"))
        loaded = ours.ask(
            "load", direction=case.direction, batch=case.batch, steps=case.steps,
            dtype=settings.dtype,
        )
        loaded["flops"] = ours.ask("operations")
        calls = {
            "step": lambda: Seconds(*ours.ask("call", what="step")).scaled(1 / case.steps),
            "capture": lambda: Seconds(*ours.ask("call", what="capture")),
        }
        reference_peak = None
        if settings.reference is not None:
            given = {
                "script": str(pathlib.Path(settings.reference_bench).absolute()),
                "reference": str(pathlib.Path(settings.reference).absolute()),
                "direction": case.direction,
            }
            theirs = stack.enter_context(start("launch.benchmarks.train_reference_worker"))
            theirs.ask("load", **given, batch=case.reference_batch)
            scale = case.batch / case.reference_batch
            calls["reference"] = lambda: Seconds(*theirs.ask("call")).scaled(scale)
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        peak = ours.ask("peak")
        if settings.reference is not None:
            reference_peak = theirs.ask("peak")
    if reference_peak and case.batch > case.reference_batch:
        twice = 2 * case.reference_batch
        with start("launch.benchmarks.train_reference_worker") as theirs:
            theirs.ask("load", **given, batch=twice)
            slope = (theirs.ask("peak") - reference_peak) / case.reference_batch
        reference_peak += slope * (case.batch - case.reference_batch)
    return row(case, loaded, found, peak, reference_peak)


def row(
    case: Case, loaded: Mapping[str, Any], found: Mapping[str, list[Seconds]], peak: int,
    reference_peak: float | None,
) -> Row:
    """Returns a line from what the workers told.

    Args:
        case: what was measured.
        loaded: our worker's answer to "load", and operations per window, "flops".
        found: seconds per round of "step", "capture" and perhaps "reference".
        peak, reference_peak: bytes.
    """
    epochs = DIRECTIONS[case.direction].bridge.epochs
    step, capture = timing.median(found["step"]), timing.median(found["capture"])
    amortised = [
        Seconds(*(a + b / epochs for a, b in zip(one, capture, strict=True)))
        for one in found["step"]
    ]
    seconds = timing.median(amortised).wall
    beside = {}
    if "reference" in found:
        reference = timing.median(found["reference"])
        faster = timing.ratio(found["reference"], amortised)
        beside = {
            "reference_step_s": reference.wall, "reference_step_cpu_s": reference.cpu,
            "times_faster": faster.wall, "times_faster_cpu": faster.cpu,
            "reference_peak_mb": reference_peak / 2**20,
        }
        if case.reference_batch != case.batch:
            beside["note"] = (
                f"reference at batch {case.reference_batch}, time scaled, memory extrapolated from "
                f"batches {case.reference_batch} and {2 * case.reference_batch}"
            )
    return Row(
        direction=case.direction, batch=case.batch, device=loaded["device"],
        parameters=loaded["parameters"],
        rounds=len(found["step"]), step_s=step.wall, step_cpu_s=step.cpu, capture_s=capture.wall,
        capture_cpu_s=capture.cpu, amortised_s=seconds, samples_per_s=case.batch / seconds,
        tflop_per_s=case.batch * loaded["flops"] / step.wall / 1e12,
        compile_s=loaded["compile_s"], peak_mb=peak / 2**20, **beside,
    )


TABLE = tables.Table("train", Row, (
    ("direction", "direction", "{:<}", 14), ("batch", "batch", "{}", 5),
    ("step_s", "step s", "{:.3f}", 7), ("step_cpu_s", "CPU s", "{:.3f}", 7),
    ("amortised_s", "with capture", "{:.3f}", 12), ("samples_per_s", "samples/s", "{:.2f}", 9),
    ("tflop_per_s", "TFLOP/s", "{:.3g}", 7),
    ("reference_step_s", "ref. s", "{:.2f}", 7), ("reference_step_cpu_s", "CPU s", "{:.2f}", 7),
    ("times_faster", "x faster", "{:.1f}", 8), ("times_faster_cpu", "x CPU", "{:.1f}", 6),
    ("peak_mb", "peak MB", "{:.0f}", 8), ("reference_peak_mb", "ref. MB", "{:.0f}", 8),
    ("compile_s", "compile s", "{:.1f}", 9), ("rounds", "n", "{}", 2),
))
header, write = TABLE.header, TABLE.write


def table(report: Mapping[str, Any]) -> str:
    """The whole table as Markdown, and the machine below it."""
    return f"{tables.markdown(TABLE.columns, TABLE.rows(report))}\n\n{report['machine']}"
