"""Pieces of simulated biosignals: coloured noise, bursts, slow wandering, heartbeats."""

import numpy as np
from scipy import signal as dsp


def band_noise(rng: np.random.Generator, shape: tuple, low: float, high: float, rate: float):
    """Noise of unit standard deviation within a band."""
    band = dsp.butter(2, [low, high], "bandpass", fs=rate, output="sos")
    noise = dsp.sosfilt(band, rng.standard_normal(shape), axis=-1)
    return noise / noise.std(axis=-1, keepdims=True)


def pink_noise(rng: np.random.Generator, shape: tuple, rate: float) -> np.ndarray:
    """1/f noise of unit standard deviation, flat below 1 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(shape))
    frequency = np.fft.rfftfreq(shape[-1], 1 / rate)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 1)), shape[-1])
    return noise / noise.std(axis=-1, keepdims=True)


def bursts(rng: np.random.Generator, samples: int, rate: float, per_minute: float, width_s: float):
    """Bell-shaped bumps of random height at random moments."""
    out = np.zeros(samples)
    bump = dsp.windows.gaussian(int(4 * width_s * rate) | 1, width_s * rate)
    for start in rng.integers(0, samples, rng.poisson(per_minute * samples / rate / 60)):
        piece = bump[: samples - start] * rng.uniform(0.5, 1.5)
        out[start : start + len(piece)] += piece
    return out


def slow_wander(rng: np.random.Generator, samples: int, rate: float) -> np.ndarray:
    """Smooth wandering over tens of seconds, unit standard deviation in the long run."""
    knots = rng.standard_normal(int(samples / rate / 20) + 3)
    at = np.arange(samples) / rate / 20
    low = at.astype(int)
    share = (1 - np.cos(np.pi * (at - low))) / 2
    return knots[low] * (1 - share) + knots[low + 1] * share


# mean (s from the R peak), width (s) and height (share of R) of each wave
_WAVES = (
    (-0.17, 0.022, 0.12), (-0.03, 0.010, -0.12), (0.0, 0.011, 1.0), (0.03, 0.010, -0.22),
)


def add_beat(
    ecg: np.ndarray, time_s: np.ndarray, beat_s: float, rr_s: float, r_mv: float
) -> None:
    """Adds one heartbeat; the T wave follows R sooner the shorter the interval (Bazett)."""
    first, last = np.searchsorted(time_s, (beat_s - 0.3, beat_s + 0.6))
    at = time_s[first:last] - beat_s
    waves = (*_WAVES, (0.29 * np.sqrt(rr_s), 0.045, 0.3))
    for mean, width, height in waves:
        ecg[first:last] += r_mv * height * np.exp(-(((at - mean) / width) ** 2) / 2)
