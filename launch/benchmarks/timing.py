"""Fair timing on a shared machine: alternation, medians, pairwise ratios, peak memory."""

import contextlib
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

_STATUS = pathlib.Path("/proc/self/status")


class Seconds(NamedTuple):
    """Duration of a call.

    Attributes:
        wall: seconds that passed.
        cpu: seconds that all threads of the process computed.
    """

    wall: float
    cpu: float

    def scaled(self, factor: float) -> "Seconds":
        """Both multiplied, as of one of several steps in a call."""
        return Seconds(factor * self.wall, factor * self.cpu)


def now() -> Seconds:
    """Both clocks of this process."""
    return Seconds(time.perf_counter(), time.process_time())


def timed(call: Callable[[], object], clock: Callable[[], Seconds] = now) -> Seconds:
    """Returns how long `call` takes; it must wait for its own result."""
    start = clock()
    call()
    stop = clock()
    return Seconds(stop.wall - start.wall, stop.cpu - start.cpu)


def alternate(
    calls: Mapping[str, Callable[[], Seconds]], rounds: int, budget_s: float = float("inf"),
    fewest: int = 2,
) -> dict[str, list[Seconds]]:
    """Runs every call once per round, in turn, so that what disturbs the machine hits all of them.

    Args:
        calls: name -> call that returns its own duration.
        rounds: rounds at most.
        budget_s: no further round starts once the wall seconds of all calls exceed this.
        fewest: rounds at least, whatever the budget.

    Returns:
        name -> durations, one per round.
    """
    spent, found = 0.0, {name: [] for name in calls}
    for done in range(rounds):
        if done >= fewest and spent >= budget_s:
            break
        for name, call in calls.items():
            seconds = call()
            spent += seconds.wall
            found[name].append(seconds)
    return found


def median(samples: Sequence[Seconds]) -> Seconds:
    """Median of wall and of CPU seconds, each by itself."""
    return Seconds(*(statistics.median(values) for values in zip(*samples, strict=True)))


def ratio(above: Sequence[Seconds], below: Sequence[Seconds]) -> Seconds:
    """Median over rounds of `above` / `below`, paired by round."""
    return median([
        Seconds(a.wall / b.wall, a.cpu / b.cpu) for a, b in zip(above, below, strict=True)
    ])


def reset_peak_memory() -> None:
    """Restarts the high-water mark of this process's memory, where the kernel allows it."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """High-water mark of this process's resident memory; 0 where the kernel does not tell."""
    return _status_bytes("VmHWM")


def jax_peak_memory_bytes() -> int:
    """Peak memory that JAX held on the accelerator; on a CPU, `peak_memory_bytes`."""
    import jax

    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use") or peak_memory_bytes()


def memory_bytes() -> int:
    """Resident memory of this process now; 0 where the kernel does not tell."""
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    if not _STATUS.exists():
        return 0
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(fields.get(key, "0 kB").split()[0]) * 1024


def machine_line() -> str:
    """One line on the machine and how busy it is."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x for x in lines if x.startswith("model name")).split(":", 1)[1].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
