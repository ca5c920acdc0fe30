"""Oracle: scikit-learn's regression in float64, run to its minimum (not to its default stop)."""

import warnings

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import StratifiedKFold

from jaxbridge.features import checks as features
from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.probe import held_out_scores, probe_layers
from model_ports.errors import InputError


def simulate(seed, windows, width, classes, *, decay=0.0, scale=1.0, offset=0.0, shift=0.3,
             balanced=True):
    """Windows of `classes` clusters with singular values falling as i**-decay, rotated."""
    rng = np.random.default_rng(seed)
    share = np.ones(classes) if balanced else 0.5 ** np.arange(classes)
    labels = rng.choice(classes, windows, p=share / share.sum())
    labels[: 10 * classes] = np.arange(10 * classes) % classes  # enough of each for 5 folds
    centres = shift * rng.standard_normal((classes, width))
    x = rng.standard_normal((windows, width)) + centres[labels]
    x = x * scale * np.arange(1, width + 1) ** -float(decay)
    rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
    return (x @ rotation + offset * rng.standard_normal(width)).astype(np.float32), labels


def minimum(x, labels, train, penalty=1.0):
    """Objective and all predictions at scikit-learn's minimum.

    The features are centred and rotated first: this changes neither, and the solver can be run
    to the end also where there are more features than windows.
    """
    x = x.astype(np.float64)
    x = x - x[train].mean(axis=0)
    _, _, axes = np.linalg.svd(x[train], full_matrices=False)
    x = x @ axes.T
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-9, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches end at rounding error
        model.fit(x[train], labels[train])
    log_probability = model.predict_log_proba(x)
    index = np.searchsorted(model.classes_, labels[train])
    loss = -log_probability[train][np.arange(train.sum()), index].sum()
    return loss + 0.5 * penalty * np.sum(model.coef_**2), model, x


def assert_at_minimum(layers, labels, classes, penalty=1.0, checked_folds=5):
    stacked, _ = features.stack(layers)
    folds = stratified_folds(labels)
    result = probe_layers(stacked, labels, folds, num_classes=classes, penalty=penalty)
    assert result.converged.all()
    for i, layer in enumerate(layers):
        for f, test in enumerate(folds[:checked_folds]):
            objective, model, x = minimum(layer, labels, ~test, penalty)
            np.testing.assert_allclose(result.objective[i, f], objective, rtol=1e-5)
            predicted = model.predict(x)
            assert np.mean(predicted == result.predictions[i, f]) >= 0.999
            f1 = f1_score(labels[test], predicted[test], average="macro")
            assert abs(result.macro_f1[i, f] - f1) <= 0.005
            balanced = balanced_accuracy_score(labels[test], predicted[test])
            assert abs(result.balanced_accuracy[i, f] - balanced) <= 0.005
            loss = log_loss(labels[test], model.predict_proba(x[test]), labels=model.classes_)
            np.testing.assert_allclose(result.log_loss[i, f], loss, rtol=2e-3)
    return result


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("balanced", [True, False])
def test_classes_balanced_or_not(classes, balanced):
    x, y = simulate(classes, 400, 32, classes, balanced=balanced)
    assert_at_minimum([x], y, classes)


@pytest.mark.parametrize(
    "case",
    [
        {"decay": 1.0, "scale": 10.0},
        {"decay": 1.0, "scale": 100.0, "offset": 100.0, "shift": 0.05},
        {"decay": 2.0, "scale": 100.0, "offset": 10.0},
        {"decay": 0.5, "scale": 1.0},
        {"scale": 1e-3},
        {"decay": 0.5, "scale": 1e4, "shift": 0.1},  # separable: needs float64
        {"offset": 1e3},
    ],
    ids=str,
)
def test_spectra_scales_and_offsets(case):
    x, y = simulate(1, 500, 96, 3, **case)
    assert_at_minimum([x], y, 3)


def test_layers_of_unequal_width_collinear_and_constant_columns():
    x, y = simulate(2, 300, 64, 3, decay=0.5)
    collinear = np.concatenate([x, x[:, :20] - 2 * x[:, 20:40], np.ones((300, 3))], axis=1)
    assert_at_minimum([x[:, :32], x, collinear.astype(np.float32)], y, 3)


def test_more_features_than_windows():
    x, y = simulate(3, 100, 260, 3, decay=1.0, scale=10.0)
    assert_at_minimum([x], y, 3)


@pytest.mark.parametrize("penalty", [0.01, 100.0])
def test_penalty(penalty):
    x, y = simulate(4, 300, 24, 3)
    assert_at_minimum([x], y, 3, penalty)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("windows", "width", "classes", "decay"),
    [(2000, 768, 3, 0.0), (2000, 768, 3, 1.0), (1000, 2048, 2, 1.0), (1000, 256, 6, 0.7)],
)
def test_encoder_sizes(windows, width, classes, decay):
    x, y = simulate(5, windows, width, classes, decay=decay, scale=10.0**decay, shift=0.1,
                    balanced=False)
    assert_at_minimum([x], y, classes, checked_folds=1)  # the oracle takes long


def test_few_steps_to_the_very_minimum_on_a_steep_spectrum():
    """30 steps; from the diagonal of the Hessian alone it takes 90."""
    x, y = simulate(12, 400, 96, 3, decay=0.75, scale=10.0)
    folds = stratified_folds(y)
    found = probe_layers(x[None], y, folds, num_classes=3)
    assert found.iterations[0] <= 60
    least, _, _ = minimum(x, y, ~folds[0])
    np.testing.assert_allclose(found.objective[0, 0], least, rtol=2e-6)


def test_padding_changes_nothing():
    x, y = simulate(6, 200, 48, 3, decay=1.0, scale=10.0)
    folds = stratified_folds(y)
    plain = probe_layers(x[None], y, folds, num_classes=3)
    padded = probe_layers(np.pad(x, ((0, 0), (0, 80)))[None], y, folds, num_classes=3)
    np.testing.assert_allclose(plain.objective, padded.objective, rtol=1e-6)
    np.testing.assert_array_equal(plain.predictions, padded.predictions)


def test_absent_classes_are_left_out_as_scikit_learn_does():
    x, y = simulate(7, 300, 16, 2)
    y = np.where(y == 1, 3, 1)  # of five classes only 1 and 3 occur
    result = assert_at_minimum([x], y, 5)
    assert set(np.unique(result.predictions)) == {1, 3}


def test_a_class_absent_from_one_training_set():
    """Grouped folds may hold a class out entirely: then the rest is fitted, here as a sigmoid."""
    x, y = simulate(8, 300, 16, 3)
    test = np.stack([y == 2, np.arange(300) % 2 == 0])
    result = probe_layers(x[None], y, test, num_classes=3)
    for f in range(2):
        objective, model, z = minimum(x, y, ~test[f])
        np.testing.assert_allclose(result.objective[0, f], objective, rtol=1e-5)
        np.testing.assert_array_equal(result.predictions[0, f], model.predict(z))
    assert np.isfinite(result.log_loss).all()


def test_folds_equal_scikit_learns():
    y = np.random.default_rng(0).integers(0, 3, 101)
    masks = stratified_folds(y)
    for mask, (_, test) in zip(masks, StratifiedKFold(5).split(y, y), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(mask), test)


def test_scores_over_classes_that_occur():
    """Class 3 is neither true nor predicted, class 2 only predicted."""
    labels = np.array([0, 0, 0, 1, 1, 3])
    test = np.array([[True] * 5 + [False]])
    predictions = np.array([[[0, 2, 1, 1, 1, 0]]])
    f1, balanced = held_out_scores(labels, predictions, test, 4)
    held, guess = labels[test[0]], predictions[0, 0, test[0]]
    assert f1[0, 0] == pytest.approx(f1_score(held, guess, average="macro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert balanced[0, 0] == pytest.approx(balanced_accuracy_score(held, guess))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_folds": np.ones((2, 5), bool)}, r"is not \(folds, 20\)"),
        ({"test_folds": np.zeros((2, 20), bool)}, "fold 0 holds no window out"),
        ({"test_folds": np.arange(20)[None] >= 10}, "fold 0 trains on 1 class"),
        ({"penalty": 0.0}, "must be positive"),
        ({"labels": np.zeros(20, int)}, "only class 0"),
        ({"features": np.full((1, 20, 2), np.nan)}, "layer 0: NaN"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "features": np.random.default_rng(0).standard_normal((1, 20, 2)),
        "labels": np.repeat([0, 1], 10),
        "test_folds": np.arange(20)[None] % 2 == 0,
        "num_classes": 2,
    } | change
    with pytest.raises(InputError, match=message):
        probe_layers(**arguments)


def test_all_layers_at_once_as_on_an_accelerator(monkeypatch):
    """Off the CPU the solve is vmapped over layers; it ends at the same minimum."""
    rng = np.random.default_rng(11)
    labels = np.arange(90) % 3
    features = rng.standard_normal((3, 90, 12)).astype(np.float32)
    features += 0.7 * np.eye(12)[labels].astype(np.float32)
    features[1] *= np.arange(1, 13) ** -1.0
    folds = stratified_folds(labels, 3)
    one_by_one = probe_layers(features, labels, folds, num_classes=3)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    at_once = probe_layers(features, labels, folds, num_classes=3)
    np.testing.assert_allclose(at_once.objective, one_by_one.objective, rtol=1e-5)
    np.testing.assert_array_equal(at_once.predictions, one_by_one.predictions)
    assert at_once.converged.all()
