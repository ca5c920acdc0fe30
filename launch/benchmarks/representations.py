"""Pictures of signals beside drawing them with Matplotlib (`--what=representations`)."""

import dataclasses
from collections.abc import Callable
from typing import Any

from launch.benchmarks import tables, timing
from launch.benchmarks.timing import Seconds
from launch.benchmarks.worker import Worker
from model_ports.representations import REPRESENTATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure.

    Attributes:
        batch: signals per call.
        samples: of each signal; 10 s at 100 Hz.
        rounds: alternations per row.
        threads: CPU cores of each process.
    """

    batch: int = 64
    samples: int = 1000
    rounds: int = 7
    threads: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One representation. Seconds are medians over rounds; ratios are medians of rounds' ratios.

    Attributes:
        representation: its name.
        batch, samples: signals per call, samples of each.
        rounds: measured alternations.
        ours_s, ours_cpu_s: seconds of this package.
        slow_s, slow_cpu_s: with NumPy, SciPy and Matplotlib, signal by signal.
        times_faster, times_faster_cpu: slow / ours, wall and CPU.
        peak_mb: peak memory of our process.
    """

    representation: str
    batch: int
    samples: int
    rounds: int
    ours_s: float
    ours_cpu_s: float
    slow_s: float
    slow_cpu_s: float
    times_faster: float
    times_faster_cpu: float
    peak_mb: float
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measures, and returns what `write` takes."""
    report: dict[str, Any] = {
        "machine": timing.machine_line(), "settings": dataclasses.asdict(settings), "rows": [],
    }
    for name in REPRESENTATIONS:
        row = _row(settings, name)
        report["rows"].append(dataclasses.asdict(row))
        tell(TABLE.line(row))
    return report


def _row(settings: Settings, name: str) -> Row:
    worker, threads = "launch.benchmarks.representations_worker", settings.threads
    with Worker(worker, threads=threads) as ours, Worker(worker, threads=threads) as slow:
        for verb, process in (("ours", ours), ("slow", slow)):
            process.ask(verb, name=name, batch=settings.batch, samples=settings.samples)
        found = timing.alternate({
            "ours": lambda: Seconds(*ours.ask("call")), "slow": lambda: Seconds(*slow.ask("call")),
        }, settings.rounds)
        peak = ours.ask("peak")
    (wall, cpu), theirs = timing.median(found["ours"]), timing.median(found["slow"])
    faster = timing.ratio(found["slow"], found["ours"])
    return Row(
        representation=name, batch=settings.batch, samples=settings.samples,
        rounds=len(found["ours"]), ours_s=wall, ours_cpu_s=cpu, slow_s=theirs.wall,
        slow_cpu_s=theirs.cpu, times_faster=faster.wall, times_faster_cpu=faster.cpu,
        peak_mb=peak / 2**20,
    )


TABLE = tables.Table("representations", Row, (
    ("representation", "representation", "{:<}", 18), ("batch", "batch", "{}", 5),
    ("samples", "samples", "{}", 7), ("ours_s", "s", "{:.3f}", 7),
    ("ours_cpu_s", "CPU s", "{:.3f}", 7), ("slow_s", "slow s", "{:.2f}", 7),
    ("slow_cpu_s", "CPU s", "{:.2f}", 7), ("times_faster", "x faster", "{:.1f}", 8),
    ("times_faster_cpu", "x CPU", "{:.1f}", 6), ("peak_mb", "peak MB", "{:.0f}", 8),
    ("rounds", "n", "{}", 2),
))
header, table, write = TABLE.header, TABLE.text, TABLE.write
