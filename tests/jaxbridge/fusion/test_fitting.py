"""Fusions fitted to labels, frozen and together with the encoder."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge import HeadSettings
from jaxbridge.fusion import FUSIONS, FusionSettings, fit_fusion, fit_fusion_unfrozen
from model_ports.parameters import weights_hash
from tests.jaxbridge.toy_pictures import ToyPictures

HEAD = HeadSettings(epochs=30, learning_rate=0.02, batch_size=32)


def noisy(seed, windows=96):
    """Two modalities, three representations; only one embedding of each modality tells the class,
    the others are ten times as large."""
    rng = np.random.default_rng(seed)
    labels = np.arange(windows) % 3
    x = 10 * rng.standard_normal((windows, 2, 3, 4))
    x[:, :, 1] = 0.3 * rng.standard_normal((windows, 2, 4)) + np.eye(4)[labels][:, None]
    return x.astype(np.float32), labels


@pytest.mark.parametrize("hidden", [None, 8])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.slow
def test_every_fusion_learns(fusion, hidden):
    settings = FusionSettings(fusion, fusion, HeadSettings(
        epochs=60, learning_rate=0.02, batch_size=32, hidden=hidden
    ))
    model, curve = fit_fusion(noisy(0), noisy(1), 3, settings, seed=0)
    x, labels = noisy(2)
    accuracy = (np.asarray(model(x)).argmax(axis=1) == labels).mean()
    # a sum cannot tell which of its terms is noise
    assert accuracy > (0.5 if fusion == "add" else 0.85), accuracy
    assert curve[-1].train_loss < curve[0].train_loss
    if fusion == "gate":
        unit = (x - model.mean[...]) * model.scale[...]
        assert np.asarray(model.within[0].gates(unit[:, 0])).mean(axis=0).argmax() == 1


def test_the_same_seed_gives_the_same_bits():
    fits = [fit_fusion(noisy(0), noisy(1), 3, FusionSettings(head=HEAD), seed=3) for _ in range(2)]
    assert fits[0][1] == fits[1][1]


def beats(seed, windows=48, samples=64):
    """Two modalities; the classes differ in how many periods a window has."""
    rng = np.random.default_rng(seed)
    labels = np.arange(windows) % 2
    periods = np.where(labels == 0, 3, 7)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (windows, 2, 1))
    at = np.arange(samples) / samples
    return np.sin(2 * np.pi * periods * at + phase).astype(np.float32), labels


def test_the_encoder_is_trained_too_where_asked_for():
    encoder = ToyPictures(rngs=nnx.Rngs(0))
    before = weights_hash(encoder)
    settings = FusionSettings("add", "gate", HeadSettings(
        epochs=15, learning_rate=5e-3, batch_size=16, unfrozen=True
    ))
    model, curve = fit_fusion_unfrozen(
        encoder, ("waveform",), beats(0), beats(1), 2, settings, seed=0
    )
    assert weights_hash(encoder) == before
    moved = np.abs(np.asarray(model.encoder.patch.kernel[...] - encoder.patch.kernel[...]))
    assert moved.max() > 1e-3
    assert curve[-1].train_loss < 0.8 * curve[0].train_loss
    x, labels = beats(2)
    predictions = np.asarray(jax.jit(lambda m, x: m(x))(model, x)).argmax(axis=1)
    assert (predictions == labels).mean() > 0.8


def test_wrong_shapes_are_refused():
    x, labels = noisy(0)
    with pytest.raises(mp.InputError, match="modalities, representations, features"):
        fit_fusion((x[:, 0], labels), (x[:, 0], labels), 3, FusionSettings(head=HEAD), seed=0)
    with pytest.raises(mp.InputError, match="class 3 has no training window"):
        fit_fusion((x, labels), (x, labels), 4, FusionSettings(head=HEAD), seed=0)
    with pytest.raises(mp.InputError, match="equally many samples"):
        fit_fusion_unfrozen(
            ToyPictures(rngs=nnx.Rngs(0)), ("waveform",), (x[:, 0, 0], labels), (x, labels), 3,
            FusionSettings(head=HEAD), seed=0,
        )


def test_validation_of_another_shape_and_labels_that_are_no_class_are_refused():
    (x, labels), settings = noisy(0), FusionSettings(head=HEAD)
    with pytest.raises(mp.InputError, match=r"validate with have shape \(2, 2, 4\), .* \(2, 3, 4\)"):
        fit_fusion((x, labels), (x[:, :, 1:], labels), 3, settings, seed=0)
    for train, val in ((labels + 1, labels), (labels, labels + 1), (labels, labels - 1)):
        with pytest.raises(mp.InputError, match="labels are -?[01] to [123], but there are 3 classes"):
            fit_fusion((x, train), (x, val), 3, settings, seed=0)
