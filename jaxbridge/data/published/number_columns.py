"""Some columns of a large text table of plain decimal numbers, many rows at a time.

Eight characters are one 64-bit word, of which a few multiplications make a number (Lemire, "Quickly
parsing eight digits", 2018). Whatever is not plain, such as an exponent, is left to other readers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_PIECE = 2**18
# Room before the first row, since words are read up to the end of a number.
_MARGIN = b"\n" * 16
_BYTES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_ZEROS = np.uint64(0x3030303030303030)
_DOTS = np.uint64(0x2E2E2E2E2E2E2E2E)
_OVER_NINE = np.uint64(0x4646464646464646)
_PAIRS = np.uint64(0x000000FF000000FF)
_KEPT = np.array([2**64 - 2 ** (8 * (8 - count)) for count in range(9)], np.uint64)
_POWERS = 10.0 ** np.arange(8)
_MINUS = ord("-")


def number_columns(path: Path, columns: Sequence[int], num_columns: int) -> np.ndarray | None:
    """Reads columns of a file whose lines are fields between commas.

    Args:
        path: of the file.
        columns: from 1 on.
        num_columns: in every line.

    Returns:
        (rows, columns) float64, correctly rounded; None where a line has not `num_columns` fields or a
        number is not of the form -12345678.1234567, or shorter.

    Raises:
        OSError: the file cannot be read.
    """
    wanted = np.asarray(columns)
    found, rest = [], b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            lines, newline, left = (rest + piece).rpartition(b"\n")
            rest = left
            if newline and (rows := _rows(lines, wanted, num_columns)) is None:
                return None
            if newline:
                found.append(rows)
    if rest:
        if (rows := _rows(rest, wanted, num_columns)) is None:
            return None
        found.append(rows)
    return np.concatenate(found) if found else None


def _rows(lines: bytes, columns: np.ndarray, num_columns: int) -> np.ndarray | None:
    """Numbers of whole lines, the last one without its end."""
    text = np.frombuffer(b"".join([_MARGIN, lines, b"\n"]), np.uint8)
    line_ends = text == ord("\n")
    ends = np.flatnonzero((text == ord(",")) | line_ends)[len(_MARGIN) :]
    if len(ends) % num_columns:
        return None
    ends = ends.reshape(-1, num_columns)
    if not line_ends[ends[:, -1]].all() or np.count_nonzero(line_ends) != len(_MARGIN) + len(ends):
        return None
    numbers = _numbers(text, ends[:, columns - 1].ravel() + 1, ends[:, columns].ravel())
    return None if numbers is None else numbers.reshape(len(ends), len(columns))


def _numbers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Numbers that stand from `starts` to `ends` in a text."""
    words = np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))
    negative = text[starts] == _MINUS
    starts = starts + negative
    last = _keep(words[ends - 8], ends - starts)
    # The lowest zero byte of `different` is marked exactly; lower bytes are earlier characters.
    different = last ^ _DOTS
    marked = (different - _BYTES) & ~different & _HIGH
    lowest = marked & (~marked + np.uint64(1))
    place = ((lowest.astype(np.float64).view(np.int64) >> 52) - (1023 + 7)) >> 3
    pointed = lowest > 0
    decimals = np.where(pointed, 7 - place, 0)
    lengths = ends - starts
    if (lengths - pointed < 1).any():  # no digit
        return None
    power = _POWERS[decimals]
    if lengths.max() <= 8:  # the digits before the point move up to it
        before = (lowest >> np.uint64(7)) - np.uint64(1)
        after = ~(lowest + lowest - np.uint64(1))
        joined = (last & after) | ((last & before) << np.uint64(8)) | np.uint64(ord("0"))
        digits = np.where(pointed, joined, last)
        values = _value(digits) / power if _all_digits(digits) else None
    else:
        behind = decimals + pointed
        values = _long_values(words, lengths - behind, ends - behind, last, decimals)
    return None if values is None else np.where(negative, -values, values)


def _long_values(
    words: np.ndarray, lengths: np.ndarray, dots: np.ndarray, last: np.ndarray, decimals: np.ndarray
) -> np.ndarray | None:
    """Of numbers with up to eight digits before the point, which is at `dots`, and seven after it."""
    if lengths.max() > 8:
        return None
    whole, part = _keep(words[dots - 8], lengths), _keep(last, decimals)
    if not (_all_digits(whole) and _all_digits(part)):
        return None
    power = _POWERS[decimals]
    return (_value(whole) * power + _value(part)) / power


def _keep(words: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Words whose last `counts` characters are kept, if there are more than eight all, others 0."""
    kept = _KEPT[np.minimum(counts, 8)]
    return (words & kept) | (_ZEROS & ~kept)


def _all_digits(words: np.ndarray) -> bool:
    return not (((words + _OVER_NINE) | (words - _ZEROS)) & _HIGH).any()


def _value(words: np.ndarray) -> np.ndarray:
    """Numbers that eight digits make: by twos, by fours, by eights."""
    values = words - _ZEROS
    values = values * np.uint64(10) + (values >> np.uint64(8))
    first = (values & _PAIRS) * np.uint64(100 + (1000000 << 32))
    second = ((values >> np.uint64(16)) & _PAIRS) * np.uint64(1 + (10000 << 32))
    return ((first + second) >> np.uint64(32)).astype(np.float64)
