"""Throughput of the encoders beside their PyTorch originals (`--what=encoders`)."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker, WorkerFailed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        models: encoder names.
        batches: windows per call, ascending.
        reference: folder with checkouts of the originals (see `pytorch_encoders`); None for JAX
            alone.
        dtype: compute type, "float32" or "bfloat16".
        rounds: alternations per row at most.
        row_s: seconds after which a row gets no further round (two it always gets).
        longest_call_s: a batch that would take longer is shrunk.
        threads: CPU cores of each worker.
    """

    models: Sequence[str]
    batches: Sequence[int] = (1, 16, 64)
    reference: str | None = None
    dtype: str = "float32"
    rounds: int = 7
    row_s: float = 8.0
    longest_call_s: float = 12.0
    threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. Seconds are medians over rounds; ratios, of the pairs' ratios.

    Attributes:
        model: the encoder.
        what: "embed": the whole model, front end included; "activations": token means of every
            layer, by PyTorch from one pass per layer with a hook on it (as BioX-Bridge does);
            "activations, one pass": the same, by PyTorch from one pass with hooks on all layers.
        batch: windows per call.
        rounds: measured alternations.
        jax_wall_s, jax_cpu_s, torch_wall_s, torch_cpu_s: seconds per call.
        jax_windows_per_s, torch_windows_per_s: batch / wall seconds.
        wall_ratio, cpu_ratio: JAX / PyTorch; below 1 JAX is faster.
        compile_s: wall seconds of tracing and compiling.
        jax_peak_mb, torch_peak_mb: peak memory of the process, or of the accelerator, in MB.
        note: what departs from the above.
    """

    model: str
    what: str
    batch: int
    rounds: int
    jax_wall_s: float
    jax_cpu_s: float
    torch_wall_s: float | None = None
    torch_cpu_s: float | None = None
    jax_windows_per_s: float
    torch_windows_per_s: float | None = None
    wall_ratio: float | None = None
    cpu_ratio: float | None = None
    compile_s: float
    jax_peak_mb: float
    torch_peak_mb: float | None = None
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes.

    Raises:
        InputError: an unknown model, or originals that are not where `reference` says.
    """
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "models": {},
        "rows": [], "left_out": [],
    }
    for model in settings.models:
        with contextlib.ExitStack() as stack:
            start = functools.partial(Worker, threads=settings.threads)
            ours = stack.enter_context(start("launch.benchmarks.jax_worker"))
            report["models"][model] = {"jax": ours.ask("load", name=model, dtype=settings.dtype)}
            theirs = None
            if settings.reference is not None:
                theirs = stack.enter_context(start("launch.benchmarks.pytorch_worker"))
                report["models"][model]["torch"] = theirs.ask(
                    "load", name=model, dtype=settings.dtype, reference=settings.reference
                )
            layers = report["models"][model]["jax"]["layers"]
            for row in _rows(model, layers, ours, theirs, settings):
                if isinstance(row, str):
                    report["left_out"].append(row)
                    tell(row)
                else:
                    report["rows"].append(dataclasses.asdict(row))
                    tell(TABLE.line(row))
    return report


def _rows(
    model: str, layers: int, ours: Worker, theirs: Worker | None, settings: Settings
) -> Iterator[Row | str]:
    """Measures row after row; a text in place of one that is left out."""
    measure = functools.partial(_measure, model=model, ours=ours, theirs=theirs, settings=settings)
    done: dict[int, Row] = {}
    for wanted in settings.batches:
        batch = fitting_batch(wanted, done, settings.longest_call_s)
        if batch <= max(done, default=0):
            yield f"{model}: no row for {wanted} windows, a call would take too long"
            continue
        note = "" if batch == wanted else f"{wanted} windows would take too long a call"
        done[batch] = measure(what="embed", hooks="embed", batch=batch, note=note)
        yield done[batch]
    batch = fitting_batch(min(16, max(done)), done, settings.longest_call_s / 4)
    yield measure(
        what="activations", hooks="hook", batch=batch, passes=layers,
        note=f"PyTorch: a pass with one hook x {layers} layers" if theirs else "",
    )
    if theirs is not None:
        yield measure(what="activations, one pass", hooks="hooks", batch=batch)


def fitting_batch(wanted: int, done: Mapping[int, Row], longest_s: float) -> int:
    """Returns `wanted`, or the largest power of two below it whose call would not last too long.

    A call's seconds are taken to grow with the batch, from the largest one in `done`.
    """
    if not done:
        return wanted
    row = done[max(done)]
    slower = max(row.jax_wall_s, row.torch_wall_s or 0.0)
    most = max(1, int(longest_s * row.batch / slower))
    return wanted if wanted <= most else 2 ** (most.bit_length() - 1)


def _measure(
    *, model: str, what: str, hooks: str, batch: int, ours: Worker, theirs: Worker | None,
    settings: Settings, passes: int = 1, note: str = "",
) -> Row:
    method = what.partition(",")[0]
    prepared = ours.ask("prepare", what=method, batch=batch)
    calls = {"jax": lambda: Seconds(*ours.ask("call", what=method))}
    if theirs is not None:
        try:
            remark = theirs.ask("prepare", what=hooks, batch=batch)["note"]
            note = "; ".join(text for text in (note, remark and f"PyTorch: {remark}") if text)
            calls["torch"] = lambda: Seconds(*theirs.ask("call"))
        except WorkerFailed as error:
            note = f"PyTorch: {error}"
    found = timing.alternate(calls, settings.rounds, settings.row_s)
    wall, cpu = timing.median(found["jax"])
    beside = {}
    if "torch" in found:
        samples = [Seconds(passes * s.wall, passes * s.cpu) for s in found["torch"]]
        torch_wall, torch_cpu = timing.median(samples)
        wall_ratio, cpu_ratio = timing.ratio(found["jax"], samples)
        beside = {
            "torch_wall_s": torch_wall, "torch_cpu_s": torch_cpu,
            "torch_windows_per_s": batch / torch_wall, "wall_ratio": wall_ratio,
            "cpu_ratio": cpu_ratio, "torch_peak_mb": theirs.ask("peak") / 2**20,
        }
    return Row(
        model=model, what=what, batch=batch, rounds=len(found["jax"]), jax_wall_s=wall,
        jax_cpu_s=cpu, jax_windows_per_s=batch / wall, compile_s=prepared["compile_s"][0],
        jax_peak_mb=ours.ask("peak") / 2**20, note=note, **beside,
    )


TABLE = tables.Table("encoders", Row, (
    ("model", "model", "{:<}", 17), ("what", "what", "{:<}", 22), ("batch", "batch", "{}", 5),
    ("jax_windows_per_s", "JAX/s", "{:.4g}", 8), ("torch_windows_per_s", "PyTorch/s", "{:.4g}", 9),
    ("jax_wall_s", "JAX s", "{:.3f}", 8), ("jax_cpu_s", "CPU s", "{:.3f}", 8),
    ("torch_wall_s", "PyTorch s", "{:.3f}", 9), ("torch_cpu_s", "CPU s", "{:.3f}", 8),
    ("wall_ratio", "ratio", "{:.2f}", 6), ("cpu_ratio", "CPU", "{:.2f}", 6),
    ("compile_s", "compile", "{:.1f}", 7), ("jax_peak_mb", "JAX MB", "{:.0f}", 7),
    ("torch_peak_mb", "PyT. MB", "{:.0f}", 7), ("rounds", "n", "{}", 2),
))
header, write = TABLE.header, TABLE.write


def table(report: Mapping[str, Any]) -> str:
    """The whole table, the machine and the versions below it."""
    rows = map(TABLE.line, TABLE.rows(report))
    versions = sorted({
        f"{side['version']} on {side['device']}"
        for sides in report["models"].values() for side in sides.values()
    })
    return "\n".join([header(), *rows, *report["left_out"], "", report["machine"], *versions])
