"""The scanner beside the reference's way of selecting (`--what=scan`)."""

import contextlib
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker

# Encoder, shape of one window and layers of its direction's old encoder: the reference runs both
# encoders once per old layer.
_CAPTURES = (
    ("WESAD PPG to ECG", "papagei", (1, 7500), 18),
    ("WESAD PPG to ECG", "hubert_ecg_small", (6000,), 18),
    ("ISRUC EEG to ECG", "labram", (6, 30, 200), 12),
    ("ISRUC EEG to ECG", "hubert_ecg_small", (3000,), 12),
)
# scikit-learn's default, then on until it is at the minimum.
_TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        reference: folder with checkouts of the originals for the capture; None leaves its
            comparison out.
        rounds: alternations per row at most.
        row_s: seconds after which a row gets no further round (two it always gets).
        windows: captured windows per encoder.
        largest: windows of the largest streamed CKA.
        threads: CPU cores of each process.
        only_probes: leave out everything after the probes.
    """

    reference: str | None = None
    rounds: int = 5
    row_s: float = 30.0
    windows: int = 64
    largest: int = 1_000_000
    threads: int = 2
    only_probes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line. Seconds are medians over rounds; ratios are medians of the rounds' ratios.

    Attributes:
        what: what was computed.
        size: how much of it.
        rounds: measured alternations.
        ours_s, ours_cpu_s: seconds of this package.
        reference_s, reference_cpu_s: of the reference's way, scaled up where `note` says so.
        times_faster, times_faster_cpu: reference / ours, wall and CPU.
        peak_mb: peak memory of our process.
        note: how the reference was measured.
    """

    what: str
    size: str
    rounds: int
    ours_s: float
    ours_cpu_s: float
    reference_s: float | None = None
    reference_cpu_s: float | None = None
    times_faster: float | None = None
    times_faster_cpu: float | None = None
    peak_mb: float
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes."""
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "rows": [],
    }
    for row in _rows(settings):
        report["rows"].append(dataclasses.asdict(row))
        tell(TABLE.line(row))
    return report


def _rows(settings: Settings) -> Iterator[Row]:
    start = functools.partial(Worker, threads=settings.threads)
    measure = functools.partial(_measure, settings, start)
    with tempfile.TemporaryDirectory() as folder:
        file = str(pathlib.Path(folder) / "hubert_ecg_base.npz")
        for classes, spectrum in ((3, "iid"), (3, "power_law"), (2, file)):
            size = f"12 layers x 5 folds, 2,000 x 768, {classes} classes, "
            size += pathlib.Path(spectrum).stem
            yield from _probes(settings, start, size, {
                "layers": 12, "windows": 2000, "width": 768, "spectrum": spectrum})
    if settings.only_probes:
        return
    yield measure(
        "cka", "12 x 12 pairs, 5,000 x 768", {"layers": 12, "windows": 5000, "width": 768},
        "Gram matrices in NumPy: one pair x 144",
    )
    for direction, model, shape, passes in _CAPTURES:
        yield from _capture(settings, start, direction, model, shape, passes)
    alone = functools.partial(measure, note="", compared=False)
    for windows in (1000, 4000, 16000):
        yield alone("probes", f"growth: {windows:,} windows, 12 layers x 256, power_law", {
            "layers": 12, "windows": windows, "width": 256, "spectrum": "power_law"})
    for layers in (6, 12, 24):
        yield alone("probes", f"growth: {layers} layers, 2,000 x 256, power_law", {
            "layers": layers, "windows": 2000, "width": 256, "spectrum": "power_law"})
    for width in (128, 512, 1024):
        yield alone("cka", f"growth: width {width}, 12 x 12 pairs, 5,000 windows", {
            "layers": 12, "windows": 5000, "width": width})
    windows = 1000
    while windows <= settings.largest:
        yield alone("streamed_cka", f"growth: {windows:,} windows in batches, 4 x 4 pairs, width 64", {
            "layers": 4, "windows": windows, "width": 64, "batch": 1000})
        windows *= 10


def _probes(
    settings: Settings, start: Callable[[str], Worker], size: str, arguments: Mapping[str, Any]
) -> Iterator[Row]:
    """Beside scikit-learn as it stops by default, and at the loosest tolerance that arrives."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(start("launch.benchmarks.scan_worker"))
        if arguments["spectrum"].endswith(".npz"):
            ours.ask("encoder_features", path=arguments["spectrum"])
        solved = ours.ask("probes", **arguments)
        theirs = stack.enter_context(start("launch.benchmarks.scan_reference_worker"))
        told = theirs.ask("probes", **arguments, tolerances=_TOLERANCES)
        gap = max(
            solved["objective"][layer][fold] / minimum - 1
            for (layer, fold), minimum in zip(told["chosen"], told["minima"], strict=True)
        )
        calls = {"ours": lambda: Seconds(*ours.ask("call"))}
        for i in range(len(told["found"])):
            calls[str(i)] = lambda i=i: Seconds(*theirs.ask("call", which=i))
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        peak = ours.ask("peak")
    for i, fits in enumerate(told["found"]):
        note = (
            f"scikit-learn, tol {fits['tolerance']:g}, BLAS threads {told['threads'] or 'default'}: "
            f"{len(told['chosen'])} fits x {told['times']:g}; {_range(fits['steps'])} steps to within "
            f"{fits['gap']:.0e} of the minimum, ours {_range(solved['steps'])} to {gap:.0e}"
        )
        both = {"ours": found["ours"], "reference": found[str(i)]}
        yield _row("probes", size, both, told["times"], peak, note)


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}"


def _measure(
    settings: Settings, start: Callable[[str], Worker], what: str, size: str,
    arguments: Mapping[str, Any], note: str, *, compared: bool = True,
) -> Row:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(start("launch.benchmarks.scan_worker"))
        ours.ask(what, **arguments)
        calls = {"ours": lambda: Seconds(*ours.ask("call"))}
        times = 1
        if compared:
            theirs = stack.enter_context(start("launch.benchmarks.scan_reference_worker"))
            times = theirs.ask(what, **arguments)["times"]
            calls["reference"] = lambda: Seconds(*theirs.ask("call"))
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        peak = ours.ask("peak")
    return _row(what, size, found, times, peak, note)


def _capture(
    settings: Settings, start: Callable[[str], Worker], direction: str, model: str,
    shape: Sequence[int], passes: int,
) -> Iterator[Row]:
    batch = 16
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(start("launch.benchmarks.scan_worker"))
        ours.ask("capture", model=model, windows=settings.windows, shape=shape, batch=batch)
        calls = {"ours": lambda: Seconds(*ours.ask("call"))}
        if settings.reference is not None:
            theirs = stack.enter_context(start("launch.benchmarks.pytorch_worker"))
            theirs.ask("load", name=model, dtype="float32", reference=settings.reference)
            theirs.ask("prepare", what="hooks", batch=batch, shape=shape)
            calls["reference"] = lambda: Seconds(*theirs.ask("call"))
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        peak = ours.ask("peak")
    size = f"{direction}: {model}, {settings.windows} windows, all layers, to disk"
    batches = settings.windows / batch
    yield _row(
        "capture", size, found, batches, peak, f"PyTorch, one hooked pass: a batch x {batches:g}"
    )
    if "reference" in found:
        yield _row(
            "capture", size, found, batches * passes, peak,
            f"as the reference, a pass per old layer: a batch x {batches:g} x {passes}",
        )


def _row(
    what: str, size: str, found: Mapping[str, list[Seconds]], times: float, peak: int, note: str
) -> Row:
    wall, cpu = timing.median(found["ours"])
    beside = {}
    if "reference" in found:
        scaled = [Seconds(times * s.wall, times * s.cpu) for s in found["reference"]]
        theirs, faster = timing.median(scaled), timing.ratio(scaled, found["ours"])
        beside = {
            "reference_s": theirs.wall, "reference_cpu_s": theirs.cpu,
            "times_faster": faster.wall, "times_faster_cpu": faster.cpu, "note": note,
        }
    return Row(
        what=what, size=size, rounds=len(found["ours"]), ours_s=wall, ours_cpu_s=cpu,
        peak_mb=peak / 2**20, **beside,
    )


TABLE = tables.Table("scan", Row, (
    ("what", "what", "{:<}", 13), ("size", "size", "{:<}", 66), ("ours_s", "s", "{:.3f}", 8),
    ("ours_cpu_s", "CPU s", "{:.3f}", 8), ("reference_s", "ref. s", "{:.2f}", 8),
    ("reference_cpu_s", "CPU s", "{:.2f}", 8), ("times_faster", "x faster", "{:.1f}", 8),
    ("times_faster_cpu", "x CPU", "{:.1f}", 6), ("peak_mb", "peak MB", "{:.0f}", 8),
    ("rounds", "n", "{}", 2),
))
header, table, write = TABLE.header, TABLE.text, TABLE.write
