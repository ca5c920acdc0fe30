"""Ridge probes over a grid of penalties, from one eigendecomposition per layer and fold.

Minimises ||Y - X W - b||^2 + penalty * ||W||^2 with a free intercept b: scikit-learn's
``Ridge(alpha=penalty)``. With the training windows' Gram matrix (of features or of windows,
whichever is smaller) decomposed once, every further penalty costs a matrix product.

Computed in float64, which stays inside this module: with raw encoder features the Gram matrix'
eigenvalues span more than float32 holds, and small penalties would act on rounding errors.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from jaxbridge.features import checks as feature_checks
from jaxbridge.selection.probe import held_out_scores
from model_ports.errors import InputError

# As in `jaxbridge.selection.probe`: eigh is slower, sometimes by far, with several OpenBLAS threads.
_ONE_THREAD = functools.partial(threadpool_limits, 1, user_api="blas")


@dataclass(frozen=True)
class RidgeClassification:
    """Scores (layers, folds, penalties) float64 and the penalties (penalties,)."""

    penalties: np.ndarray
    macro_f1: np.ndarray
    balanced_accuracy: np.ndarray


def ridge_regression(
    features: ArrayLike, targets: ArrayLike, test_folds: ArrayLike, penalties: ArrayLike
) -> np.ndarray:
    """Held-out share of variance explained, all outputs together.

    Args:
        features: (layers, windows, width), zero-padded where layers differ in width.
        targets: (windows, outputs).
        test_folds: (folds, windows) bool, True where held out.
        penalties: (penalties,) positive.

    Returns:
        (layers, folds, penalties) float64: 1 - squared error / squared distance of the held-out
        targets from their mean.

    Raises:
        InputError: see `jaxbridge.features.checks.check`; targets or masks of another shape, targets
            that are not finite or do not vary in a fold; a penalty that is not positive.
    """
    targets = np.asarray(targets, np.float64)
    test, penalties = _check(features, test_folds, penalties)
    if targets.ndim != 2 or len(targets) != test.shape[1]:
        raise InputError(f"targets: shape {targets.shape} is not ({test.shape[1]}, outputs)")
    if not np.isfinite(targets).all():
        raise InputError("targets: NaN or infinite values; drop these windows")
    spread = np.array([np.sum((targets[t] - targets[t].mean(axis=0)) ** 2) for t in test])
    if not spread.all():
        raise InputError(
            f"targets: constant in held-out fold {np.argmin(spread)}; use fewer folds"
        )
    with _ONE_THREAD(), jax.enable_x64(True):
        arguments = _double(features, targets, test, penalties)
        error = np.asarray(_squared_error(*arguments))
    return 1 - error / spread[:, None]


def ridge_classification(
    features: ArrayLike,
    labels: ArrayLike,
    test_folds: ArrayLike,
    penalties: ArrayLike,
    *,
    num_classes: int,
) -> RidgeClassification:
    """Ridge regression on one-hot labels, the largest output being the prediction.

    Args:
        features: (layers, windows, width).
        labels: (windows,) class indices.
        test_folds: (folds, windows) bool, True where held out.
        penalties: (penalties,) positive.
        num_classes: number of classes.

    Raises:
        InputError: as `ridge_regression` and `jaxbridge.features.checks.check_labels`.
    """
    test, penalties = _check(features, test_folds, penalties)
    labels = feature_checks.check_labels(
        labels, test.shape[1], num_classes, num_folds=len(test)
    )
    with _ONE_THREAD(), jax.enable_x64(True):
        arguments = _double(features, np.eye(num_classes)[labels], test, penalties)
        predictions = np.asarray(_predicted_classes(*arguments))
    scores = [
        held_out_scores(labels, predictions[:, :, p], test, num_classes)
        for p in range(len(penalties))
    ]
    f1, balanced = (np.stack(table, axis=2) for table in zip(*scores, strict=True))
    return RidgeClassification(penalties, f1, balanced)


def _check(features, test_folds, penalties) -> tuple[np.ndarray, np.ndarray]:
    feature_checks.check(features)
    windows = np.shape(features)[1]
    test = np.asarray(test_folds, bool)
    if test.ndim != 2 or test.shape[1] != windows or len(test) == 0:
        raise InputError(
            f"test_folds: shape {test.shape} is not (folds, {windows}); "
            "make it with jaxbridge.selection.folds.stratified_folds"
        )
    for fold, mask in enumerate(test):
        if mask.all() or not mask.any():
            raise InputError(
                f"test_folds: fold {fold} holds {'all windows' if mask.all() else 'no window'} out"
            )
    penalties = np.atleast_1d(np.asarray(penalties, np.float64))
    if penalties.ndim != 1 or not np.all(penalties > 0):
        raise InputError("penalties: all must be positive numbers")
    return test, penalties


def _double(features, targets, test, penalties):
    arrays = features, targets, test, penalties
    return tuple(jnp.asarray(a, jnp.float64) for a in arrays)


def _over_layers_and_folds(score):
    """jit of score(predictions (penalties, windows, outputs), targets, test) for all fits."""

    @functools.wraps(score)
    def run(features, targets, test, penalties):
        def layer(x):
            return lax.map(
                lambda held: score(_predict(x, targets, 1 - held, penalties), targets, held), test
            )

        return lax.map(layer, features)

    return jax.jit(run)


@_over_layers_and_folds
def _squared_error(predictions, targets, test):
    return jnp.sum((predictions - targets) ** 2 * test[:, None], axis=(1, 2))


@_over_layers_and_folds
def _predicted_classes(predictions, targets, test):
    return jnp.argmax(predictions, axis=2)


def _predict(features, targets, train, penalties):
    """Predictions of all windows by a fit on those where train is 1, for every penalty."""
    count = jnp.sum(train)
    mean = train @ targets / count
    x = features - train @ features / count
    trained, y = x * train[:, None], (targets - mean) * train[:, None]
    windows, width = features.shape
    if width <= windows:
        values, axes = jnp.linalg.eigh(trained.T @ trained)
        seen, known = x @ axes, axes.T @ (trained.T @ y)
    else:
        values, axes = jnp.linalg.eigh(trained @ trained.T)
        seen, known = (x @ trained.T) @ axes, axes.T @ y
    shrunk = known / (jnp.maximum(values, 0)[:, None] + penalties[:, None, None])
    return seen @ shrunk + mean
