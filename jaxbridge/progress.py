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
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yields the items and reports on them, on standard error unless another stream is given.

    A terminal shows one line that is rewritten in place; a log gets whole lines, at most one in
    five seconds, and one at the end. An empty loop reports nothing.

    Args:
        iterable: what to loop over.
        what: the activity, for instance 'reading recordings'.
        unit: what one item is, for instance 'recording'.
        total: number of items; taken from `len(iterable)` where that exists.
        each: how many of what an item holds, for instance (120, 'window'); the speed is then in
            these.
        stream: where to report.
        clock: seconds, for tests.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    interval_s = _TERMINAL_INTERVAL_S if terminal else _LOG_INTERVAL_S
    start = shown = clock()
    done = width = 0

    def show(end: str) -> None:
        nonlocal width
        line = _line(what, unit, done, total, clock() - start, each or (1, unit))
        if terminal:
            stream.write("\r" + line.ljust(width) + end)
            width = len(line)
        else:
            stream.write(line + "\n")
        stream.flush()

    try:
        for item in iterable:
            yield item
            done += 1
            if clock() - shown >= interval_s and done != total:
                shown = clock()
                show("")
    finally:
        if done:
            show("\n")


def _line(
    what: str, unit: str, done: int, total: int | None, elapsed_s: float, each: tuple[int, str]
) -> str:
    count = f"{done}" if total is None else f"{done}/{total}"
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
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


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
