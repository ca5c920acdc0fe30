import io
import itertools

import pytest

from jaxbridge.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _clock(step):
    """A clock that only an item moves."""
    now = [0.0]

    def items(count):
        for i in range(count):
            now[0] += step
            yield i

    return (lambda: now[0]), items


def test_items_pass_through_in_order():
    assert list(progress([3, 1, 2], what="w", unit="u", stream=io.StringIO())) == [3, 1, 2]


def test_parts_of_a_unit_are_counted_from_where_the_work_begins():
    clock, items = _clock(3.0)
    stream = io.StringIO()
    list(progress(
        (7 for _ in items(5)), total=3, what="training", unit="epoch", each=(120, "window"), begun=10,
        amount=int, parts=15, stream=stream, clock=clock,
    ))
    assert stream.getvalue().splitlines() == [  # 14 of 35 parts, then 28, then all
        "training: 1.6/3 epochs, 18.7 window/s, 0:09 left",
        "training: 2.5/3 epochs, 18.7 window/s, 0:03 left",
        "training: 3/3 epochs, 18.7 window/s, 0:15",
    ]


def test_what_is_nearly_done_is_not_shown_as_done():
    clock, items = _clock(6.0)
    stream = io.StringIO()
    list(progress(
        items(999), total=1, what="w", unit="u", parts=1000, stream=stream, clock=clock
    ))
    assert stream.getvalue().splitlines()[-1].startswith("w: 0.9/1 us")


def test_log_has_few_whole_lines_with_rate_and_time_left():
    clock, items = _clock(2.0)
    stream = io.StringIO()
    list(progress(items(10), total=10, what="reading", unit="file", stream=stream, clock=clock))
    assert stream.getvalue().splitlines() == [
        "reading: 3/10 files, 2 s/file, 0:14 left",
        "reading: 6/10 files, 2 s/file, 0:08 left",
        "reading: 9/10 files, 2 s/file, 0:02 left",
        "reading: 10/10 files, 2 s/file, 0:20",
    ]


def test_speed_in_what_the_items_hold():
    clock, items = _clock(2.0)
    stream = io.StringIO()
    list(progress(
        items(6), total=6, what="training", unit="epoch", each=(3000, "window"), stream=stream,
        clock=clock,
    ))
    assert stream.getvalue().splitlines() == [
        "training: 3/6 epochs, 1,500 window/s, 0:06 left", "training: 6/6 epochs, 1,500 window/s, 0:12",
    ]


def test_terminal_rewrites_one_line_and_leaves_nothing_behind():
    clock, items = _clock(60.0)
    stream = Terminal()
    list(progress(items(100), total=100, what="w", unit="u", stream=stream, clock=clock))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    rewrites = text.rstrip("\n").split("\r")[1:]
    assert len(rewrites) == 100
    for before, after in itertools.pairwise(rewrites):
        assert len(after) >= len(before.rstrip())
    assert rewrites[0].startswith("w: 1/100 us, 60 s/u, 1:39:00 left")


def test_unknown_total_shows_count_and_time():
    clock, items = _clock(0.25)
    stream = io.StringIO()
    list(progress(items(8), what="w", unit="window", stream=stream, clock=clock))
    assert stream.getvalue() == "w: 8 windows, 4 window/s, 0:02\n"


def test_length_of_a_list_is_the_total():
    stream = io.StringIO()
    list(progress([1], what="w", unit="recording", stream=stream, clock=lambda: 0.0))
    assert stream.getvalue() == "w: 1/1 recording, 0:00\n"


def test_empty_loop_says_nothing():
    stream = io.StringIO()
    assert list(progress([], what="w", unit="u", stream=stream)) == []
    assert stream.getvalue() == ""


def test_failing_loop_ends_its_line():
    clock, items = _clock(1.0)
    stream = Terminal()
    with pytest.raises(RuntimeError):
        for item in progress(items(9), total=9, what="w", unit="u", stream=stream, clock=clock):
            if item == 4:
                raise RuntimeError
    assert stream.getvalue().endswith("\n")
    assert "w: 4/9" in stream.getvalue()
