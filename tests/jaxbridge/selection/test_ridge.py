import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score

from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.ridge import ridge_classification, ridge_regression
from model_ports.errors import InputError

PENALTIES = [1e-6, 1e-2, 1.0, 1e3]


def simulate(windows, width, outputs=2):
    """Power-law features, rotated, of which few directions carry the targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((windows, width)) * np.arange(1.0, width + 1) ** -1.5
    targets = x[:, :3] @ rng.standard_normal((3, outputs)) + 0.1 * rng.standard_normal(
        (windows, outputs)
    )
    rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
    return (10 + 5 * x @ rotation).astype(np.float32), targets + 3.0


@pytest.mark.parametrize(("windows", "width"), [(120, 20), (60, 150)])
def test_equals_scikit_learn(windows, width):
    x, targets = simulate(windows, width)
    labels = np.digitize(targets[:, 0], np.quantile(targets[:, 0], [0.3, 0.8]))
    folds = stratified_folds(labels, 3)
    layers = np.stack([x, x[:, ::-1] ** 2])
    explained = ridge_regression(layers, targets, folds, PENALTIES)
    classified = ridge_classification(layers, labels, folds, PENALTIES, num_classes=3)
    for i, layer in enumerate(layers.astype(np.float64)):
        for f, test in enumerate(folds):
            for p, penalty in enumerate(PENALTIES):
                model = Ridge(alpha=penalty, solver="svd").fit(layer[~test], targets[~test])
                error = np.sum((model.predict(layer[test]) - targets[test]) ** 2)
                total = np.sum((targets[test] - targets[test].mean(axis=0)) ** 2)
                np.testing.assert_allclose(explained[i, f, p], 1 - error / total, rtol=1e-5)
                model.fit(layer[~test], np.eye(3)[labels[~test]])
                predicted = model.predict(layer[test]).argmax(axis=1)
                f1 = f1_score(labels[test], predicted, average="macro")
                assert classified.macro_f1[i, f, p] == pytest.approx(f1, abs=1e-9)


def test_float64_stays_inside():
    x, targets = simulate(40, 5)
    ridge_regression(x[None], targets, np.arange(40)[None] < 10, [1.0])
    assert jnp.ones(1, float).dtype == jnp.float32


def test_padding_changes_nothing():
    x, targets = simulate(60, 10)
    folds = np.arange(60)[None] % 3 == np.arange(3)[:, None]
    padded = np.pad(x, ((0, 0), (0, 90)))  # and moves the work to the Gram matrix of windows
    np.testing.assert_allclose(
        ridge_regression(padded[None], targets, folds, PENALTIES),
        ridge_regression(x[None], targets, folds, PENALTIES),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.ones((9, 2))}, r"shape \(9, 2\) is not \(10, outputs\)"),
        ({"targets": np.full((10, 2), np.nan)}, "NaN"),
        ({"targets": np.ones((10, 2))}, "constant in held-out fold 0"),
        ({"test_folds": np.ones((1, 10), bool)}, "all windows"),
        ({"test_folds": np.zeros((1, 10), bool)}, "no window"),
        ({"test_folds": np.zeros((1, 9), bool)}, r"\(folds, 10\)"),
        ({"penalties": [1.0, 0.0]}, "positive"),
        ({"features": np.full((2, 10, 3), np.inf)}, "layer 0: NaN or infinite"),
    ],
)
def test_bad_input(change, message):
    rng = np.random.default_rng(0)
    arguments = {
        "features": rng.standard_normal((2, 10, 3)),
        "targets": rng.standard_normal((10, 2)),
        "test_folds": np.arange(10)[None] < 4,
        "penalties": [1.0],
    } | change
    with pytest.raises(InputError, match=message):
        ridge_regression(**arguments)
