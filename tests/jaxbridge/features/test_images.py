"""Pictures through an encoder of pictures: embeddings, feature stores, one pass for both."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.features.images import embed_images, ensure_image_features
from launch.benchmarks.representations_worker import pulses
from model_ports.representations import Spectrogram, drawn_signals, represent
from tests.jaxbridge.toy_pictures import ToyPictures

NAMES = ("waveform", "recurrence")


@pytest.fixture(scope="module")
def encoder():
    return ToyPictures(rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def embedded(encoder):
    return embed_images(encoder, 5 + pulses(8, 300), NAMES)


def test_one_embedding_per_signal_and_representation(encoder, embedded):
    assert embedded.shape == (8, 2, 6)
    pictures = represent(pulses(8, 300), drawn_signals(encoder, "recurrence").config.drawn_as)
    wanted = jax.jit(lambda e, x: e.activations(x).final)(encoder, pictures)
    np.testing.assert_allclose(embedded[:, 1], wanted, atol=1e-5)


def test_feature_stores_hold_the_same_embeddings(encoder, embedded, tmp_path):
    windows = ArrayWindows(
        {"bvp": pulses(8, 300)[:, None]}, np.zeros(8, int), np.full(8, "pair"), ("none",)
    )
    stores = ensure_image_features(tmp_path, encoder, windows, ("bvp",), ("waveform",))
    store = stores["bvp", "waveform"]
    np.testing.assert_allclose(store.final(), embedded[:, 0], atol=1e-5)
    assert store.num_layers == 2 and store.outputs(1).shape == (8, 6)
    again = ensure_image_features(tmp_path, encoder, windows, ("bvp",), ("waveform",))
    assert again["bvp", "waveform"].path == store.path
    other = drawn_signals(encoder, "recurrence", color_map="gray")
    assert other.config != drawn_signals(encoder, "recurrence").config


def test_equal_signals_are_told(encoder):
    with pytest.warns(mp.CollapseWarning, match="toy_pictures, waveform,"):
        embed_images(encoder, np.repeat(pulses(1, 300), 8, axis=0), ("waveform",))


def test_a_recording_becomes_a_signal_without_its_offset(encoder):
    model = drawn_signals(encoder, "waveform")
    recording = 1e5 + pulses(2, 300)[:, None]
    given = model.prepare(recording, sampling_rate_hz=100, leads=["EDA"], unit="a.u.")
    np.testing.assert_allclose(given, recording - recording.mean(axis=-1, keepdims=True), atol=1e-5)
    assert model.layer_shape(0, (2, 1, 300)) == (64, 6)


def test_what_cannot_be_drawn_or_embedded_is_refused(encoder):
    signals = pulses(4, 300)
    with pytest.raises(mp.InputError, match="hubert_ecg_small takes signals"):
        drawn_signals(mp.abstract("hubert_ecg_small"))
    with pytest.raises(mp.InputError, match="32 pixels.* 224"):
        drawn_signals(encoder, Spectrogram())
    with pytest.raises(mp.InputError, match="'fourier'"):
        embed_images(encoder, signals, ("fourier",))
    with pytest.raises(mp.InputError, match="at least one of waveform"):
        embed_images(encoder, signals, ())
    with pytest.raises(mp.InputError, match="at least 256 samples, not 100"):
        embed_images(encoder, signals[:, :100], ("spectrogram_psd",))
    with pytest.raises(mp.InputError, match=r"one lead at a time.*\(4, 2, 150\)"):
        drawn_signals(encoder).embed(signals.reshape(4, 2, 150))
    signals[2, 5] = np.inf
    with pytest.raises(mp.InputError, match="signal 2 has 1 NaN"):
        embed_images(encoder, signals)
