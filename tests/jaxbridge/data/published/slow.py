"""The published preparation once more, by other means: what the readers are checked against."""

import numpy as np
from scipy import signal as dsp


def linear(x: np.ndarray, old_hz: float, new_hz: float) -> np.ndarray:
    """Linear interpolation at evenly spread positions, ends included."""
    if old_hz == new_hz:
        return x
    num_new = int(len(x) * (new_hz / old_hz))
    at = np.arange(num_new) * ((len(x) - 1) / (num_new - 1))
    low = np.minimum(np.floor(at).astype(int), len(x) - 2)
    return x[low] + (at - low) * (x[low + 1] - x[low])


def fir(x: np.ndarray) -> np.ndarray:
    """0.05 to 47 Hz at 500 Hz, order 150, forwards and backwards, tap by tap."""
    taps, pad = dsp.firwin(151, [0.05, 47], pass_zero=False, fs=500), 453
    x = np.concatenate([2 * x[0] - x[pad:0:-1], x, 2 * x[-1] - x[-2 : -pad - 2 : -1]])
    for _ in range(2):
        before = np.concatenate([np.full(150, x[0]), x])
        x = sum(tap * before[150 - i : len(before) - i] for i, tap in enumerate(taps))[::-1]
    return x[pad:-pad]


def fourier(x: np.ndarray, old_hz: float, new_hz: float) -> np.ndarray:
    """Zeros appended to the spectrum."""
    num_new = int(len(x) * new_hz / old_hz)
    spectrum = np.fft.fft(x)
    half = len(x) // 2
    longer = np.zeros(num_new, complex)
    longer[:half], longer[-half + 1 :] = spectrum[:half], spectrum[-half + 1 :]
    longer[half] = longer[-half] = spectrum[half] / 2  # even lengths only
    return np.fft.ifft(longer).real * (num_new / len(x))


def z(x: np.ndarray) -> np.ndarray:
    return (x - np.sum(x) / len(x)) / np.sqrt(np.sum((x - np.sum(x) / len(x)) ** 2) / len(x))


def ecg(x: np.ndarray, rate_hz: float, encoder: str) -> tuple[np.ndarray, float]:
    """A lead as the encoder's family takes it, and its rate."""
    if encoder.startswith("ecg_fm"):
        return z(linear(x, rate_hz, 500)), 500
    new_hz = 300 if encoder.startswith("ecg_dualnet") else 100
    return z(linear(fir(linear(x, rate_hz, 500)), 500, new_hz)), new_hz


def ppg(x: np.ndarray) -> np.ndarray:
    b, a = dsp.cheby1(4, 0.5, [0.5 / 62.5, 12 / 62.5], btype="band")
    return z(dsp.filtfilt(b, a, fourier(x, 64, 125)))


def nearest(labels: np.ndarray, label_hz: float, rate_hz: float, start: int, stop: int) -> np.ndarray:
    """Labels of samples start to stop at another rate."""
    at = [min(round(i / rate_hz * label_hz), len(labels) - 1) for i in range(start, stop)]
    return labels[at]
