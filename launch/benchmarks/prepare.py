"""Preparation of the published data sets beside the reference's scripts (`--what=prepare`).

Both read the same simulated files in the published layout. Ours ends with a finished window store,
the reference's with one .npz file per window.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker, WorkerFailed

# Data set, and what is simulated: recordings as long as the published ones, but fewer of them: 8 of 15
# people, 8 of 100 nights, 168 of 222 minutes.
_CASES = (
    ("wesad", {"subjects": [f"S{k}" for k in range(2, 10)], "minutes": 45.0}),
    ("isruc", {"subjects": [f"subject{k}" for k in range(1, 9)], "minutes": 480.0}),
    # Which of the two the published files are is not known here.
    ("isruc", {"subjects": ["subject1", "subject2"], "minutes": 480.0, "compressed": True}),
    # On these files the reference's EEG and EMG windows are equally many; elsewhere they may differ
    # by one at the edge of a label, and it stops.
    ("fog", {
        "tasks": [
            1, 2, 3, 5, 6, 7, 11, 12, 13, 15, 18, 19, 20, 22, 23, 26, 27, 29, 30, 31, 33, 34, 37, 39,
            41, 42, 43, 45,
        ],
        "minutes": 3.0, "seed": 2,
    }),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        reference: folder with a checkout of BioX-Bridge in it; None measures ours alone.
        rounds: alternations per row at most.
        row_s: seconds after which a row gets no further round (two it always gets).
        scale: factor on the simulated minutes.
        threads: CPU cores of each process, and our worker processes.
    """

    reference: str | None = None
    rounds: int = 3
    row_s: float = 60.0
    scale: float = 1.0
    threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One data set. Seconds are medians over rounds; ratios are medians of the rounds' ratios.

    Attributes:
        dataset: its name.
        megabytes, windows: read and made by ours.
        rounds: measured alternations.
        ours_s, ours_cpu_s: seconds of this package, worker processes included.
        reference_s, reference_cpu_s: of the reference's script.
        times_faster, times_faster_cpu: reference / ours, wall and CPU.
        peak_mb, reference_peak_mb: peak memory of the largest process.
        equal: windows that both have, of those of the reference.
        error: largest difference of a sample in them / largest sample of its window.
        labels_differ: of those windows.
        note: what stood in for something, or why the reference is left out.
    """

    dataset: str
    megabytes: float
    windows: int | None = None
    rounds: int
    ours_s: float
    ours_cpu_s: float
    reference_s: float | None = None
    reference_cpu_s: float | None = None
    times_faster: float | None = None
    times_faster_cpu: float | None = None
    peak_mb: float
    reference_peak_mb: float | None = None
    equal: str | None = None
    error: float | None = None
    labels_differ: int | None = None
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes."""
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "rows": [],
    }
    for row in _rows(settings):
        report["rows"].append(dataclasses.asdict(row))
        tell(TABLE.line(row))
    report["load_after"] = os.getloadavg()[0]
    return report


def _rows(settings: Settings) -> Iterator[Row]:
    with Worker("launch.benchmarks.prepare_worker", threads=settings.threads) as ours:
        for dataset, arguments in _CASES:
            place = pathlib.Path(tempfile.mkdtemp())
            try:
                scaled = arguments | {"minutes": settings.scale * arguments["minutes"]}
                yield _row(settings, ours, place, dataset, scaled)
            finally:
                shutil.rmtree(place)


def _row(
    settings: Settings, ours: Worker, place: pathlib.Path, dataset: str, arguments: Mapping
) -> Row:
    files, store, theirs = (str(place / name) for name in ("files", "store", "theirs"))
    size = ours.ask("simulate", dataset=dataset, folder=files, arguments=arguments)
    calls = {"ours": lambda: Seconds(*ours.ask(
        "prepare", dataset=dataset, folder=files, out=store, workers=settings.threads
    ))}

    notes = ["compressed"] if arguments.get("compressed") else []

    def alone() -> Row:
        found = timing.alternate(calls, settings.rounds, settings.row_s)
        return _measured(dataset, size, found, ours.ask("peak"), "; ".join(notes))

    if settings.reference is None:
        return alone()
    with Worker("launch.benchmarks.prepare_reference_worker", threads=settings.threads) as reference:
        checkout = str(pathlib.Path(settings.reference) / "BioX-Bridge")
        missing = reference.ask("load", checkout=checkout, dataset=dataset)
        beside = calls | {
            "reference": lambda: Seconds(*reference.ask("prepare", folder=files, out=theirs))
        }
        try:
            found = timing.alternate(beside, settings.rounds, settings.row_s)
        except WorkerFailed as failure:
            notes.append(f"the reference stops: {failure}")
            return alone()
        peak, reference_peak = ours.ask("peak"), reference.ask("peak")
    faster, their = timing.ratio(found["reference"], found["ours"]), timing.median(found["reference"])
    both = ours.ask("compare", out=store, theirs=theirs)
    if missing:
        notes.append(f"stand-ins for {', '.join(missing)}")
    return dataclasses.replace(
        _measured(dataset, size, found, peak, "; ".join(notes)), reference_s=their.wall,
        reference_cpu_s=their.cpu, times_faster=faster.wall, times_faster_cpu=faster.cpu,
        reference_peak_mb=reference_peak / 2**20, windows=both["ours"],
        equal=f"{both['both']}/{both['theirs']}", error=both["error"],
        labels_differ=both["labels_differ"],
    )


def _measured(
    dataset: str, size: int, found: Mapping[str, list[Seconds]], peak: int, note: str
) -> Row:
    wall, cpu = timing.median(found["ours"])
    return Row(
        dataset=dataset, megabytes=size / 1e6, rounds=len(found["ours"]), ours_s=wall,
        ours_cpu_s=cpu, peak_mb=peak / 2**20, note=note,
    )


TABLE = tables.Table("prepare", Row, (
    ("dataset", "data set", "{:<}", 8), ("megabytes", "MB", "{:.0f}", 6),
    ("windows", "windows", "{}", 7), ("ours_s", "s", "{:.2f}", 7),
    ("ours_cpu_s", "CPU s", "{:.2f}", 7), ("reference_s", "ref. s", "{:.1f}", 7),
    ("reference_cpu_s", "CPU s", "{:.1f}", 7), ("times_faster", "x faster", "{:.1f}", 8),
    ("times_faster_cpu", "x CPU", "{:.1f}", 6), ("peak_mb", "peak MB", "{:.0f}", 7),
    ("reference_peak_mb", "ref. MB", "{:.0f}", 7), ("equal", "equal", "{}", 11),
    ("error", "error", "{:.1e}", 8), ("labels_differ", "labels", "{}", 6), ("rounds", "n", "{}", 2),
))
header, write = TABLE.header, TABLE.write


def table(report: Mapping[str, Any]) -> str:
    """The whole table, and the machine below it."""
    return "\n".join([
        header(), *map(TABLE.line, TABLE.rows(report)), "",
        f"{report['machine']} before, load {report['load_after']:.1f} after",
    ])
