"""Writes what Python 2 with NumPy writes into a pickle: WESAD's files, for simulated ones.

Python 3's own pickles differ: their strings are Unicode and their bytes need a function call.
"""

import struct
from typing import Any, BinaryIO

import numpy as np


def write_python2_pickle(content: Any, file: BinaryIO) -> None:
    """Writes nested dicts of ASCII strings and numeric NumPy arrays, protocol 2.

    Args:
        content: dict, str or array.
        file: open for writing bytes.
    """
    file.write(b"\x80\x02")
    _write(content, file)
    file.write(b".")


def _write(content: Any, file: BinaryIO) -> None:
    if isinstance(content, dict):
        file.write(b"}(")
        for key, value in content.items():
            _write(key, file)
            _write(value, file)
        file.write(b"u")
    elif isinstance(content, str):
        _string(content.encode("ascii"), file)
    else:
        _array(content, file)


def _string(text: bytes, file: BinaryIO) -> None:
    file.write(b"T" + struct.pack("<i", len(text)) + text)


def _integers(values: tuple[int, ...]) -> bytes:
    return b"".join(b"J" + struct.pack("<i", value) for value in values)


def _array(array: np.ndarray, file: BinaryIO) -> None:
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(")
    file.write(_integers((0,)) + b"t")
    _string(b"b", file)
    file.write(b"tR(" + _integers((1,)) + b"(" + _integers(array.shape) + b"tcnumpy\ndtype\n(")
    _string(array.dtype.str[1:].encode("ascii"), file)
    file.write(_integers((0, 1)) + b"tR(" + _integers((3,)))
    _string(b"<", file)
    file.write(b"NNN" + _integers((-1, -1, 0)) + b"tb\x89")
    _string(array.tobytes(), file)
    file.write(b"tb")
