"""Linear preprocessing steps that are computed a piece at a time, one after the other.

A stage gives any of its samples, and asks the stage before it for those it needs: so of a recording of
hours no step but the last is ever whole in memory.
"""

from typing import Protocol

import numpy as np

# Samples at a time, whose steps stay in the cache.
_PIECE, _SHORTEST = 2**16, 2**11
_FFT = 2**12


class Stage(Protocol):
    """Attributes:
        rows, num: how many leads and samples.
    """

    rows: int
    num: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """(rows, stop - start) float64: samples from `start` to `stop`."""
        ...


class Samples:
    """A signal (leads, samples), as the first stage."""

    def __init__(self, signal: np.ndarray):
        self._signal = signal
        self.rows, self.num = signal.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._signal[:, start:stop], np.float64)


class Interpolated:
    """`num` samples by linear interpolation: the first and the last are those of the stage before."""

    def __init__(self, before: Stage, num: int):
        self._before = before
        self.rows, self.num = before.rows, num

    def read(self, start: int, stop: int) -> np.ndarray:
        # Old sample i stands at i * step: as linspace(0, num - 1, num_old), but a piece at a time.
        num_old = self._before.num
        step = (self.num - 1) / (num_old - 1)
        first, last = max(int(start / step) - 2, 0), min(int(stop / step) + 3, num_old)
        stands = np.arange(first, last) * step
        if last == num_old:
            stands[-1] = self.num - 1
        wanted = np.arange(start, stop)
        out = np.empty((self.rows, stop - start))
        for row, new in zip(self._before.read(first, last), out, strict=True):
            new[:] = np.interp(wanted, stands, row)
        return out


class ZeroPhase:
    """An FIR filter of even order run forwards and backwards; the ends turned about the end samples.

    The two runs are one with the taps' autocorrelation, computed by overlapping FFTs. (What padding
    adds at the far ends does not reach the signal.)
    """

    def __init__(self, before: Stage, taps: np.ndarray):
        self._before, self._order = before, len(taps) - 1
        self.rows, self.num = before.rows, before.num
        self._size = max(_FFT, 2 ** (8 * self._order).bit_length())
        self._response = np.fft.rfft(np.convolve(taps, taps[::-1]), self._size)

    def read(self, start: int, stop: int) -> np.ndarray:
        size, order = self._size, self._order
        step = size - 2 * order
        piece = np.zeros((self.rows, -(-(stop - start) // step) * step + 2 * order))
        self._extended(start - order, stop + order, piece)
        some = np.lib.stride_tricks.sliding_window_view(piece, size, axis=1)[:, ::step]
        done = np.fft.irfft(np.fft.rfft(some) * self._response, size)[..., 2 * order :]
        return done.reshape(self.rows, -1)[:, : stop - start]

    def _extended(self, start: int, stop: int, out: np.ndarray) -> None:
        first, last = max(start, 0), min(stop, self.num)
        inner = self._before.read(first, last)
        out[:, first - start : last - start] = inner
        if start < 0:
            out[:, :-start] = 2 * inner[:, :1] - inner[:, -start:0:-1]
        if stop > last:
            out[:, last - start : stop - start] = (
                2 * inner[:, -1:] - inner[:, -2 : last - stop - 2 : -1]
            )


def whole(stage: Stage) -> np.ndarray:
    """(rows, num) float64: all samples of a stage."""
    piece = max(_PIECE // stage.rows, _SHORTEST)
    out = np.empty((stage.rows, stage.num))
    for start in range(0, stage.num, piece):
        stop = min(start + piece, stage.num)
        out[:, start:stop] = stage.read(start, stop)
    return out
