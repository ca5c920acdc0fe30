"""The drawn line against a supersampled one, and against Matplotlib's."""

import numpy as np
import pytest

from launch.benchmarks import slow_pictures
from launch.benchmarks.representations_worker import pulses
from model_ports.representations import Waveform, represent

LINE = np.array([31, 119, 180]) / 255


def supersampled(signal, size, width, points=10):
    """Share of `points`^2 points of each pixel that lie within half the width of the line."""
    inner = size / 1.1
    unit = (signal.max() - signal) / np.ptp(signal) if np.ptp(signal) else np.full(len(signal), 0.5)
    y = 0.05 * inner + inner * unit
    x = 0.05 * inner + inner * np.arange(len(signal)) / (len(signal) - 1)
    axis = (np.arange(size * points) + 0.5) / points
    px, py = np.meshgrid(axis, axis)
    near = np.full(px.shape, np.inf)
    for i in range(len(signal) - 1):
        dx, dy = x[i + 1] - x[i], y[i + 1] - y[i]
        along = np.clip(((px - x[i]) * dx + (py - y[i]) * dy) / (dx**2 + dy**2), 0, 1)
        near = np.minimum(near, np.hypot(px - x[i] - along * dx, py - y[i] - along * dy))
    inked = (near <= width / 2).reshape(size, points, size, points).mean(axis=(1, 3))
    return 1 - inked * (1 - LINE[:, None, None])


@pytest.mark.parametrize(("samples", "size", "width"), [(9, 32, 2.0), (60, 32, 1.2), (90, 40, 3.0)])
def test_covers_the_pixels_that_a_supersampled_line_covers(samples, size, width):
    signals = pulses(2, samples)
    found = np.asarray(Waveform(size=size, line_width=width)(signals))
    for picture, signal in zip(found, signals, strict=True):
        off = np.abs(picture - supersampled(signal, size, width))
        assert off.max() < 0.16 and off.mean() < 0.008, (off.max(), off.mean())


def test_a_jump_and_a_constant():
    for signal in (np.repeat([0.0, 1.0], 10), np.full(20, 3.0)):
        found = np.asarray(Waveform(size=32)(signal[None]))[0]
        off = np.abs(found - supersampled(signal, 32, 1.5 * 100 / 72))
        assert off.max() < 0.16 and off.mean() < 0.008


def test_close_to_matplotlib():
    """Agg clips, simplifies and rounds to 1/256: means agree, single steep pixels less so."""
    signals = pulses(4, 1000)
    found = np.asarray(represent(signals, "waveform"))
    wanted = np.stack([slow_pictures.drawn(signal, "waveform") for signal in signals])
    off = np.abs(found - wanted)
    assert off.mean() < 0.006
    assert (off > 0.1).mean() < 0.01


def test_many_more_samples_than_pixels():
    """The line of a dense signal fills what lies between its lowest and highest samples."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 20000))
    found = np.asarray(Waveform(size=64)(noise))[0, 0]
    assert np.allclose(found[4:60, 4:60], LINE[0], atol=1e-3)
    assert np.allclose(found[:, 0], 1) and np.allclose(found[0], 1)
