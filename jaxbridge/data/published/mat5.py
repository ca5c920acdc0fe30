"""Arrays of MATLAB 5 files that lie there as they are, read as they are used.

Format: MathWorks, "MAT-File Format". Compressed arrays, and all that is not a plain real array, are
SciPy's to read.
"""

import math
import mmap
import struct
from collections.abc import Collection
from pathlib import Path

import numpy as np

_MATRIX = 14
_COMPLEX = 0x800
# Classes of plain numbers, and types that they are stored in.
_CLASSES = range(6, 16)
_STORED = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}
_HEADER = 128


def mapped_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray] | None:
    """Arrays of a file by name, in column-major order.

    Args:
        path: of the file.
        names: of the arrays wanted.

    Returns:
        Those of them that are there, mapped and not writable; None where SciPy has to read the file:
        it is compressed, damaged, or of another kind.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # empty
            return None
    if content[124:_HEADER] != b"\x00\x01IM":
        return None
    found: dict[str, np.ndarray] = {}
    try:
        at = _HEADER
        while at < len(content):
            kind, size = struct.unpack_from("<II", content, at)
            at += 8
            if kind != _MATRIX or at + size > len(content):
                return None
            name, array = _matrix(content, at, at + size)
            if name in names:
                if array is None:
                    return None
                found[name] = array
            at += size
    except (struct.error, ValueError, UnicodeError):
        return None
    return found


def _matrix(content: mmap.mmap, at: int, end: int) -> tuple[str, np.ndarray | None]:
    """Name and array of the element from `at` to `end`; no array where it is not one of numbers."""
    (start, size), at = _element(content, at)
    flags, = struct.unpack_from("<I", content, start)
    plain = size == 8 and flags & 0xFF in _CLASSES and not flags & _COMPLEX
    (start, size), at = _element(content, at)
    shape = struct.unpack_from(f"<{size // 4}i", content, start)
    (start, size), at = _element(content, at)
    name = content[start : start + size].decode("ascii")
    if not plain:
        return name, None
    kind, = struct.unpack_from("<I", content, at)
    (start, size), _ = _element(content, at)
    dtype = np.dtype(_STORED.get(kind & 0xFFFF, "V1"))
    if dtype.kind == "V" or start + size > end or size != dtype.itemsize * math.prod(shape):
        return name, None
    return name, np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape, order="F")


def _element(content: mmap.mmap, at: int) -> tuple[tuple[int, int], int]:
    """Start and size of an element's data, and where the next one begins."""
    kind, size = struct.unpack_from("<II", content, at)
    if kind >> 16:  # short ones are in the tag
        return (at + 4, kind >> 16), at + 8
    return (at + 8, size), at + 8 + size + -size % 8
