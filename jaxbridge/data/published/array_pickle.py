"""Pickles that hold NumPy arrays, dicts and strings, read without running what a file asks for.

A pickle names functions, and reading it calls them. Only those that rebuild NumPy arrays are
admitted here; any other name is refused before it is imported. Pickles of Python 2 are read, too:
their strings are taken as Latin-1, as NumPy needs them.
"""

import mmap
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from model_ports.errors import InputError


class _Refused(pickle.UnpicklingError):
    pass


_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
# NumPy moved its modules with version 2; pickles name the one they were written with.
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ADMITTED[_module, "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ADMITTED[_module, "scalar"] = np.float64(0).__reduce__()[0]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]


class _Mapped:
    """A file in memory, of which an unpickler copies only what it keeps."""

    def __init__(self, content: mmap.mmap):
        self._content, self._view, self._at = content, memoryview(content), 0

    def read(self, size: int) -> memoryview:
        self._at += size
        return self._view[self._at - size : self._at]

    def readinto(self, buffer: bytearray) -> int:
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self) -> memoryview:
        stop = self._content.find(b"\n", self._at) + 1 or len(self._content)
        return self.read(stop - self._at)


def _text(content: Any) -> Any:
    if isinstance(content, bytes):
        return content.decode("latin1")
    if isinstance(content, dict):
        return {_text(key): _text(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_text(value) for value in content)
    return content


def read_array_pickle(path: str | Path) -> Any:
    """Reads a pickle of arrays, dicts, lists, tuples, strings and numbers.

    Args:
        path: of the file, written by Python 2 or 3.

    Returns:
        What the file holds; strings of Python 2 as str.

    Raises:
        InputError: the file cannot be read, is damaged, or asks for anything but NumPy arrays.
    """
    try:
        with Path(path).open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # As bytes, which spares large arrays two copies; the few strings are decoded after.
        return _text(_Unpickler(_Mapped(content), encoding="bytes").load())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its rights.") from error
    except _Refused as error:
        raise InputError(
            f"{path} asks for {error} while being read, which NumPy arrays, dicts and strings do "
            "not need: it would run code, and was not read. Get the file from its publisher again."
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(
            f"{path} is damaged or no pickle ({type(error).__name__}: {error}). Get it again."
        ) from error
