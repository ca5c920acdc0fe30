"""Coloured representations against slow float64 renderings: NumPy, SciPy, Matplotlib's colours."""

import matplotlib
import numpy as np
import pytest

import model_ports as mp
from launch.benchmarks import slow_pictures
from launch.benchmarks.representations_worker import pulses
from model_ports.representations import REPRESENTATIONS, represent, representation
from model_ports.representations.pixels import area_means, area_taps, area_weights

STEP = 5.1 / 255  # no two neighbours of viridis differ by more


def seen(values, low, high, size=224):
    """Float64 picture of uniform cells through square pixels, by brute force."""
    for _ in range(2):
        cells = len(values)  # each cut into `size` slices, of which a pixel meets `cells`
        met = np.arange(size * cells).reshape(size, cells) // size
        values = np.stack([values[cells_met].mean(axis=0) for cells_met in met]).T
    unit = (values - low) / (high - low)
    return matplotlib.colormaps["viridis"](unit, bytes=True)[..., :3].transpose(2, 0, 1) / 255


def slow_values(signal, name):
    if name == "recurrence":
        found = slow_pictures.distances(signal)[::-1]
        return found, 0, found.max()
    if name == "scalogram":
        found = slow_pictures.scalogram(signal)
        return found, 0, found.max()
    found = slow_pictures.spectrum(signal, name.removeprefix("spectrogram_"))[::-1]
    return found, found.min(), found.max()


@pytest.mark.parametrize("name", [name for name in REPRESENTATIONS if name != "waveform"])
@pytest.mark.parametrize("samples", [1000, 437])
def test_equal_to_the_slow_rendering(name, samples):
    """At most one step of the colour map, but where an angle turns over between -pi and pi."""
    signals = pulses(2, samples)
    found = np.asarray(represent(signals, name))
    wanted = np.stack([seen(*slow_values(signal, name)) for signal in signals])
    assert found.shape == wanted.shape == (2, 3, 224, 224)
    off = np.abs(found - wanted).max(axis=1) > STEP
    assert off.mean() < (1e-3 if name == "spectrogram_angle" else 1e-9), off.mean()


@pytest.mark.parametrize("name", ["spectrogram_psd", "recurrence", "scalogram"])
def test_close_to_matplotlibs_own_picture(name):
    """Agg filters where cells and pixels differ, so edges of cells look another way."""
    signals = pulses(2, 1000)
    found = np.asarray(represent(signals, name))
    wanted = np.stack([slow_pictures.drawn(signal, name) for signal in signals])
    assert np.abs(found - wanted).mean() < 0.01


def test_a_sine_lies_at_its_frequency_in_the_spectrogram_and_the_scalogram():
    """At an eighth of the rate: a quarter of the way up to half of it."""
    sine = np.sin(2 * np.pi * np.arange(1024) / 8)[None]
    green = np.asarray(represent(sine, "spectrogram_psd"))[0, 1].mean(axis=1)
    assert abs(223 - green.argmax() - 224 / 4) < 3
    green = np.asarray(represent(sine, "scalogram"))[0, 1, :, 112]
    wanted = np.log(0.125 * 1024) / np.log(0.4 * 1024)
    assert abs((223 - green.argmax()) / 223 - wanted) < 0.03


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_neither_offset_nor_scale_shows(name):
    """In float64, as read from a file; angles of a lone frequency would be noise."""
    signals = pulses(2, 600)
    found, moved = (np.asarray(represent(x, name)) for x in (signals, 1e4 + 1e-3 * signals))
    assert (np.abs(found - moved) > STEP).mean() < 1e-3


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_constant_signal_has_a_picture_too(name):
    """Oxygen saturation often does not move within a window."""
    found = np.asarray(represent(np.full((2, 512), 98.0), name))
    assert np.isfinite(found).all() and 0 <= found.min() and found.max() <= 1


def test_areas_of_pixels():
    for cells, pixels in ((6, 224), (129, 224), (224, 224), (1000, 224), (3, 1)):
        weights = area_weights(cells, pixels)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(weights.sum(axis=0), pixels / cells)
        at, share = area_taps(cells, pixels)
        spread = np.zeros_like(weights)
        np.add.at(spread, (np.arange(pixels)[:, None], at), share)
        np.testing.assert_allclose(spread, weights, atol=1e-6)
    values = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(
        area_means(values, 3).mean(axis=(1, 2)), values.mean(axis=(1, 2)), atol=1e-6
    )


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("spectrogram_psd", {"frame_samples": 2}, "frame_samples=2"),
    ("spectrogram_psd", {"hop_samples": 0}, "hop_samples=0"),
    ("spectrogram_psd", {"spectrum": "power"}, "'power'"),
    ("spectrogram_psd", {"hop": 4}, "has no hop"),
    ("scalogram", {"scales": 1}, "scales=1"),
    ("recurrence", {"color_map": "pink"}, "'pink'"),
    ("waveform", {"line_width": 0}, "line_width=0"),
    ("waveform", {"size": 0}, "size=0"),
    ("fourier", {}, "'fourier'.*waveform"),
])
def test_wrong_settings_are_refused(name, settings, message):
    with pytest.raises(mp.InputError, match=message):
        representation(name, **settings)


def test_bad_signals_are_refused():
    signals = pulses(2, 300)
    signals[1, 40:43] = np.nan
    with pytest.raises(mp.InputError, match="signal 1 has 3 NaN.* 40-43"):
        represent(signals)
    with pytest.raises(mp.InputError, match="at least 256 samples, not 200.*frame_samples"):
        represent(pulses(2, 200), "spectrogram_phase")
    with pytest.raises(mp.InputError, match="at least 16 samples, not 15"):
        represent(pulses(2, 15), "scalogram")
    with pytest.raises(mp.InputError, match=r"\(batch, samples\), not of shape \(300,\)"):
        represent(signals[0])
    with pytest.raises(mp.InputError, match=r"\(0, 300\)"):
        represent(signals[:0])
