"""Windows that are cut, or computed, when they are read: a recording's need not all be in memory."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np


class LazyWindows:
    """Base of what may stand for an array (windows, ...) float32 in a `WindowBatch`.

    Subclasses say how many windows there are and give some of them; the rest behaves like an array
    that is made when it is asked for.

    Attributes:
        at_a_time: how many neighbours are best asked for together.
    """

    dtype = np.dtype(np.float32)
    at_a_time = 1

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def take(self, indices: np.ndarray) -> np.ndarray:
        """(k, ...) float32: windows by index, from 0 on."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: object) -> np.ndarray:
        first, *others = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            chosen = np.arange(*first.indices(len(self)))
        else:
            chosen = np.arange(len(self))[first]
        found = self.take(np.atleast_1d(chosen))
        found = found if np.ndim(chosen) else found[0]
        return found[(slice(None),) * np.ndim(chosen) + tuple(others)]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        del copy  # always a new one
        return self[:].astype(dtype or self.dtype, copy=False)

    def reshape(self, *shape: int) -> np.ndarray:
        return self[:].reshape(*shape)


@dataclasses.dataclass(frozen=True, eq=False)
class CutWindows(LazyWindows):
    """Windows of one signal, which is kept once however much they overlap.

    Attributes:
        signal: (leads, samples) float32.
        starts: (windows,) first samples.
        window_shape: of a window; leads first and samples in C order, so (leads, samples), or for
            instance (leads * samples,).
    """

    signal: np.ndarray
    starts: np.ndarray
    window_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.starts), *self.window_shape)

    def take(self, indices: np.ndarray) -> np.ndarray:
        leads = len(self.signal)
        length = math.prod(self.window_shape) // leads
        windows = np.empty((len(indices), leads, length), np.float32)
        for window, start in zip(windows, self.starts[indices].tolist(), strict=True):
            window[:] = self.signal[:, start : start + length]
        return windows.reshape(len(indices), *self.window_shape)

    def shaped(self, *window_shape: int) -> "CutWindows":
        """The same windows, each in another shape."""
        return dataclasses.replace(self, window_shape=window_shape)
