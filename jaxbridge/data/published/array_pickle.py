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


_SHORT = 2**16


class _Array:
    """Takes the state of a pickled array, and leaves large contents where they are."""

    def __setstate__(self, state: tuple) -> None:
        *_, shape, dtype, fortran, content = state
        if isinstance(content, memoryview):
            self.array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
        else:
            self.array = np.empty(0)
            self.array.__setstate__(state)


_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
# NumPy moved its modules with version 2; pickles name the one they were written with.
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ADMITTED[_module, "_reconstruct"] = lambda kind, shape, dtype: _Array()
    _ADMITTED[_module, "scalar"] = np.float64(0).__reduce__()[0]


# Python's own unpickler: the one in C copies every string, so all arrays, wanted or not.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{module}.{name}")
        return _ADMITTED[module, name]


class _Mapped:
    """A file in memory, of which an unpickler copies short strings only."""

    def __init__(self, content: mmap.mmap):
        self._content, self._view, self._at = content, memoryview(content), 0

    def read(self, size: int) -> bytes | memoryview:
        found = self._view[self._at : self._at + size]
        if len(found) < size:
            raise EOFError("it ends too early")
        self._at += size
        return found if size > _SHORT else bytes(found)

    def readinto(self, buffer: bytearray) -> int:
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self) -> bytes:
        stop = self._content.find(b"\n", self._at) + 1 or len(self._content)
        return bytes(self.read(stop - self._at))


def _text(content: Any) -> Any:
    if isinstance(content, _Array):
        return content.array
    if isinstance(content, (bytes, memoryview)):
        return str(content, "latin1")
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
        What the file holds; strings of Python 2 as str. Large arrays lie in the
        mapped file, of which what is not used is not read; changing them does not change it.

    Raises:
        InputError: the file cannot be read, is damaged, or asks for anything but NumPy arrays.
    """
    try:
        with Path(path).open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        # As bytes, since what is an array and what a string shows only after; strings are decoded then.
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
