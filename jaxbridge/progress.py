"""Progress of a loop: how many, how fast, how long to go."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

_TERMINAL_INTERVAL_S = 0.1
_LOG_INTERVAL_S = 5.0


def progress(
    iterable: Iterable[Item],
    *,
    what: str,
    unit: str,
    total: int | None = None,
    each: tuple[int, str] | None = None,
    begun: int = 0,
    amount: Callable[[Item], int] = lambda item: 1,
    parts: int = 1,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yields the items and reports on them, on standard error unless another stream is given.

    A terminal shows one line that is rewritten in place; a log gets whole lines, at most one in
    five seconds, and one at the end. An empty loop reports nothing.

    Args:
        iterable: what to loop over.
        what: the activity, for instance 'reading recordings'.
        unit: what is counted, for instance 'recording': one item, unless `parts` is given.
        total: number of units; taken from `len(iterable)` where that exists.
        each: how many of what a unit holds, for instance (120, 'window'); the speed is then in
            these.
        begun: parts that were done before this loop.
        amount: how many parts an item is.
        parts: of a unit.
        stream: where to report.
        clock: seconds, for tests.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    interval_s = _TERMINAL_INTERVAL_S if terminal else _LOG_INTERVAL_S
    start = shown = clock()
    done, width = begun, 0

    def show(end: str) -> None:
        nonlocal width
        now = (done - begun) / parts
        line = _line(what, unit, done / parts, now, total, clock() - start, each or (1, unit))
        if terminal:
            stream.write("\r" + line.ljust(width) + end)
            width = len(line)
        else:
            stream.write(line + "\n")
        stream.flush()

    try:
        for item in iterable:
            yield item
            done += amount(item)
            if clock() - shown >= interval_s and done / parts != total:
                shown = clock()
                show("")
    finally:
        if done > begun:
            show("\n")


def _line(
    what: str, unit: str, done: float, now: float, total: int | None, elapsed_s: float,
    each: tuple[int, str],
) -> str:
    count = _count(done) if total is None else f"{_count(done)}/{total}"
    rate = now / elapsed_s if elapsed_s > 0 else 0.0
    size, part = each
    speed = rate * size
    if speed == 0:
        shown = ""
    elif speed >= 100:
        shown = f", {speed:,.0f} {part}/s"
    elif speed >= 1:
        shown = f", {speed:.3g} {part}/s"
    else:
        shown = f", {1 / speed:.3g} s/{part}"
    if total is None or done >= total or rate == 0:
        left = f", {_duration(elapsed_s)}"
    else:
        left = f", {_duration((total - done) / rate)} left"
    return f"{what}: {count} {unit}{'' if done == total == 1 else 's'}{shown}{left}"


def _count(done: float) -> str:
    # Cut off, not rounded: what is not done is not shown as done.
    return f"{done:.0f}" if done == int(done) else f"{int(10 * done) / 10:.1f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
