"""The representations as one draws them with NumPy, SciPy and Matplotlib: signal by signal.

What the compiled representations are measured and checked against.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.signal
from matplotlib import mlab
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PIXELS, _DPI = 224, 100


def spectrum(signal: np.ndarray, mode: str) -> np.ndarray:
    """Matplotlib's `specgram` with its defaults, (frequencies, frames); psd in dB, 80 of them."""
    values = mlab.specgram(signal - signal.mean(), mode=mode)[0]
    if mode != "psd":
        return values
    decibels = 10 * np.log10(np.maximum(values, 1e-300))
    return np.maximum(decibels, decibels.max() - 80)


def distances(signal: np.ndarray) -> np.ndarray:
    """Distance of every sample from every other, (samples, samples)."""
    return np.abs(signal[:, None] - signal)


def scalogram(signal: np.ndarray, scales: int = 64) -> np.ndarray:
    """Magnitudes of the Morlet transform (omega 6), highest frequency first, (scales, samples)."""
    samples = len(signal)
    centred, rows = signal - signal.mean(), []
    for frequency in np.geomspace(0.4, 1 / samples, scales):
        scale = 6 / (2 * np.pi * frequency)
        at = np.arange(1 - samples, samples) / scale
        wavelet = np.exp(6j * at - at**2 / 2) / scale
        whole = scipy.signal.fftconvolve(centred, wavelet)
        rows.append(np.abs(whole[samples - 1 : 2 * samples - 1]))
    return np.array(rows)


def _line(axes: Axes, signal: np.ndarray) -> None:
    axes.plot(signal)


def _spectrum(mode: str) -> Callable[[Axes, np.ndarray], None]:
    def draw(axes: Axes, signal: np.ndarray) -> None:
        _show(axes, spectrum(signal, mode)[::-1])

    return draw


def _recurrence(axes: Axes, signal: np.ndarray) -> None:
    _show(axes, distances(signal)[::-1])


def _scalogram(axes: Axes, signal: np.ndarray) -> None:
    _show(axes, scalogram(signal), vmin=0)


def _show(axes: Axes, values: np.ndarray, **limits: float) -> None:
    axes.imshow(values, aspect="auto", interpolation_stage="data", **limits)


_DRAWN: Mapping[str, Callable[[Axes, np.ndarray], None]] = {
    "waveform": _line,
    "spectrogram_angle": _spectrum("angle"),
    "spectrogram_phase": _spectrum("phase"),
    "spectrogram_psd": _spectrum("psd"),
    "recurrence": _recurrence,
    "scalogram": _scalogram,
}


def drawn(signal: np.ndarray, name: str) -> np.ndarray:
    """Returns the representation of one signal (samples,) as (3, 224, 224) float32 in 0..1."""
    figure = Figure(figsize=(_PIXELS / _DPI,) * 2, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    _DRAWN[name](axes, signal)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]
    return picture.transpose(2, 0, 1).astype(np.float32) / 255
