"""The head reaches the optimum of its convex problem, and stays linear in raw features."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxbridge.teacher import HeadSettings, class_weights, fit_head, fit_unfrozen
from model_ports.errors import InputError
from tests.jaxbridge import tiny


def _features(seed: int, count: int = 90):
    """Three classes, unbalanced, features of very different offset and scale, one constant."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=[0.6, 0.25, 0.15])
    centres = np.array([[0, 0, 0], [1.5, 0, 1], [0, 1.5, -1]])
    x = centres[labels] + rng.standard_normal((count, 3))
    x = np.concatenate([x, np.ones((count, 1))], axis=1)
    x = x * [1e-2, 1, 30, 1] + [5, -3, 100, 7]
    return x.astype(np.float32), labels


def test_head_agrees_with_scikit_learn():
    train, test = _features(0, 400), _features(1, 1000)
    settings = HeadSettings(learning_rate=1e-2, epochs=300, batch_size=400)
    head, curve = fit_head(train, test, 3, settings, seed=0)
    ours = np.asarray(head(jnp.asarray(test[0]))).argmax(axis=1)
    scaled = (train[0] - train[0].mean(0)) / np.maximum(train[0].std(0), 1e-3)
    oracle = LogisticRegression(C=1e4, class_weight="balanced", max_iter=5000)
    oracle.fit(scaled, train[1])
    theirs = oracle.predict((test[0] - train[0].mean(0)) / np.maximum(train[0].std(0), 1e-3))
    assert np.mean(ours == theirs) > 0.97
    assert len(curve) == 300


def test_the_kept_epoch_has_the_lowest_validation_loss():
    # trained on the wrong labels: validation only gets worse after a while
    x, labels = _features(0, 60)
    wrong = np.random.default_rng(3).permutation(labels)
    settings = HeadSettings(learning_rate=3e-2, epochs=60, batch_size=60)
    head, curve = fit_head((x, wrong), (x, labels), 3, settings, seed=0)
    logits = np.asarray(head(jnp.asarray(x)), np.float64)
    weights = class_weights(wrong, 3, balance=True)[labels]
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = np.average(-log_p[np.arange(60), labels], weights=weights)
    assert loss == pytest.approx(min(e.val_loss for e in curve), rel=1e-3)
    assert curve[-1].val_loss > min(e.val_loss for e in curve)


def test_same_seed_same_bits():
    train = _features(0)
    runs = [
        fit_head(train, train, 3, HeadSettings(epochs=5, hidden=4), seed=2)[0] for _ in range(2)
    ]
    kernels = [np.asarray(head.layers[0].kernel[...]) for head in runs]
    assert kernels[0].tobytes() == kernels[1].tobytes()


@pytest.mark.slow
def test_unfrozen_training_moves_the_encoder_and_learns():
    old, _ = tiny.encoders()
    windows = tiny.windows()
    before = np.asarray(old.blocks[0].mlp.fc1.kernel[...])
    train, val = (
        (windows.read("eeg", windows.indices(k)), windows.labels[windows.indices(k)])
        for k in ("train", "val")
    )
    settings = HeadSettings(unfrozen=True, learning_rate=1e-3, epochs=4, batch_size=8)
    teacher, _ = fit_unfrozen(old, train, val, 2, settings, seed=0)
    assert not np.array_equal(before, teacher.encoder.blocks[0].mlp.fc1.kernel[...])
    np.testing.assert_array_equal(before, old.blocks[0].mlp.fc1.kernel[...])
    right = np.asarray(teacher(val[0])).argmax(axis=1) == val[1]
    assert right.mean() > 0.9


def test_class_weights():
    np.testing.assert_allclose(
        class_weights(np.array([0, 0, 0, 1]), 2, balance=True), [4 / 6, 4 / 2]
    )
    with pytest.raises(InputError, match="class 1 has no training window"):
        class_weights(np.zeros(3, int), 2, balance=True)


def test_a_batch_larger_than_the_data_uses_all_of_it():
    train = _features(0, 20)
    _, curve = fit_head(train, train, 3, HeadSettings(epochs=1, batch_size=500), seed=0)
    assert np.isfinite(curve[0].val_loss)


@pytest.mark.parametrize(("change", "message"), [
    ({"hidden": -3}, "hidden is -3"),
    ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ({"epochs": 0}, "epochs is 0; it must be at least 1"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"patience": 0}, "patience is 0"),
])
def test_bad_settings_are_refused_when_they_are_made(change, message):
    with pytest.raises(InputError, match=message):
        HeadSettings(**change)
