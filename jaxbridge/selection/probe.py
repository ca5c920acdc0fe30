"""Linear probes: how well each layer's pooled features predict the (pseudo-)labels.

The score that the two-stage choice starts from (BioX-Bridge, arXiv 2510.02276): a multinomial
logistic regression per layer and fold, to the minimum of the objective that scikit-learn's
``LogisticRegression(max_iter=1000, random_state=0)`` minimises. Macro F1 is what the published
code ranks by, held-out log loss what the paper states.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from jaxbridge.features import checks as feature_checks
from jaxbridge.selection import logistic
from model_ports.errors import InputError

# Estimated relative distance to the minimum above which float32 is not enough.
SHORT = 1e-6


class _Solution(NamedTuple):
    predictions: jax.Array
    log_loss: jax.Array
    window_log_loss: jax.Array
    objective: jax.Array
    gap: jax.Array
    iterations: jax.Array


@dataclass(frozen=True)
class ProbeResult:
    """Cross-validated probes; tables are (layers, folds) float64 unless noted.

    `predictions` (layers, folds, windows) int32 holds every fold's model on all windows, those
    it was trained on included; `held_out` (layers, windows) int32 and `window_log_loss` (layers,
    windows) what each window got in the fold that held it out. `objective` is that of the training
    windows, `gap` its estimated relative distance to the minimum, `iterations` (layers,) the steps
    of the slowest fold.
    """

    macro_f1: np.ndarray
    balanced_accuracy: np.ndarray
    log_loss: np.ndarray
    predictions: np.ndarray
    held_out: np.ndarray
    window_log_loss: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    iterations: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """(layers, folds) bool: the objective is within 1e-5, relative, of its minimum."""
        return self.gap <= 1e-5


def probe_layers(
    features: ArrayLike,
    labels: ArrayLike,
    test_folds: ArrayLike,
    *,
    num_classes: int,
    penalty: float = 1.0,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
) -> ProbeResult:
    """Fit and score one logistic regression per layer and fold in one compiled call.

    Args:
        features: (layers, windows, width), zero-padded where layers differ in width.
        labels: (windows,) class indices. Classes that do not occur are left out, two remaining
            classes are fitted as one sigmoid; both as scikit-learn does.
        test_folds: (folds, windows) bool, True where held out (`jaxbridge.selection.folds`).
        num_classes: number of classes.
        penalty: weight of 0.5 * ||W||^2, scikit-learn's 1 / C. Intercepts are free.
        tolerance: estimated distance to the minimum at which a fit ends, relative to its
            objective. At 1e-9 one window in some 1e5 is on the other side of a boundary than at
            the minimum. A fit ends earlier where rounding allows no further progress.
        max_iterations: end of a fit in any case.

    Raises:
        InputError: see `jaxbridge.features.checks.check` and `check_labels`; a penalty that is not
            positive; masks of another shape; a fold without held-out windows or with fewer than
            two classes to train on.
    """
    feature_checks.check(features)
    layers, windows, _ = np.shape(features)
    test = np.asarray(test_folds, bool)
    if test.ndim != 2 or test.shape[1] != windows or len(test) == 0:
        raise InputError(
            f"test_folds: shape {test.shape} is not (folds, {windows}); "
            "make it with jaxbridge.selection.folds.stratified_folds"
        )
    labels = feature_checks.check_labels(labels, windows, num_classes, num_folds=len(test))
    if not penalty > 0:
        raise InputError(f"penalty is {penalty}; it must be positive")
    classes, index = np.unique(labels, return_inverse=True)
    target = np.eye(len(classes), dtype=np.float32)[:, index]
    trained = (target @ ~test.T > 0).sum(axis=0)
    for fold in range(len(test)):
        if not test[fold].any():
            raise InputError(f"test_folds: fold {fold} holds no window out; use fewer folds")
        if trained[fold] < 2:
            raise InputError(
                f"test_folds: fold {fold} trains on {trained[fold]} class; use fewer folds, or "
                "folds not grouped by subject"
            )
    # Two classes: see `logistic.fit`.
    penalties = np.where(trained == 2, 2.0 * penalty, penalty)

    def solve(some, dtype):
        return jax.device_get(
            _probe(
                jnp.asarray(some, dtype),
                jnp.asarray(target, dtype),
                jnp.asarray(test, dtype),
                jnp.asarray(penalties, dtype),
                tolerance=tolerance,
                max_iterations=max_iterations,
                # On a CPU layer after layer: each stops at its own step, stays in the cache, and
                # is rotated only where that pays.
                at_once=jax.default_backend() != "cpu",
            )
        )

    # JAX borrows eigh from scipy's OpenBLAS. Its threads wait by spinning, and on a busy machine
    # wait for each other: 35 ms with one thread were 0.08 to 9 s with two (768 x 768, 2 cores).
    with threadpool_limits(1, user_api="blas"):
        solution = solve(features, jnp.float32)
        # Separable classes in features of a large scale (thousands) leave float32 short of the
        # minimum. These layers again in float64, which stays inside this block.
        short = np.flatnonzero((solution.gap > SHORT).any(axis=1))
        if len(short):
            with jax.enable_x64(True):
                again = solve(np.asarray(features)[short], jnp.float64)
            solution = jax.tree.map(np.array, solution)
            for found, better in zip(solution, again, strict=True):
                found[short] = better
    predictions, log_loss, window_log_loss, objective, gap, iterations = solution
    f1, balanced = held_out_scores(index, predictions, test, len(classes))
    predictions = classes[predictions].astype(np.int32)
    return ProbeResult(
        macro_f1=f1,
        balanced_accuracy=balanced,
        log_loss=log_loss.astype(np.float64),
        predictions=predictions,
        held_out=predictions[:, test.argmax(axis=0), np.arange(windows)],
        window_log_loss=window_log_loss.astype(np.float64),
        objective=objective.astype(np.float64),
        gap=gap.astype(np.float64),
        iterations=iterations,
    )


@functools.partial(jax.jit, static_argnames=("tolerance", "max_iterations", "at_once"))
def _probe(features, target, test, penalties, *, tolerance, max_iterations, at_once):
    def probe_one(layer):
        result = logistic.fit(
            layer,
            target,
            1.0 - test,
            penalties,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        log_probability = jax.nn.log_softmax(result.logits, axis=1)
        true = jnp.sum(log_probability * target, axis=1)
        # Probabilities are clipped as scikit-learn's log_loss does, at the type's resolution.
        true = jnp.maximum(true, jnp.log(jnp.finfo(true.dtype).eps))
        log_loss = -jnp.sum(true * test, axis=1) / jnp.sum(test, axis=1)
        predictions = jnp.argmax(result.logits, axis=1)
        window_log_loss = -jnp.sum(true * test, axis=0) / jnp.maximum(jnp.sum(test, axis=0), 1)
        return _Solution(
            predictions, log_loss, window_log_loss, result.objective, result.gap, result.iterations
        )

    return jax.vmap(probe_one)(features) if at_once else jax.lax.map(probe_one, features)


def held_out_scores(
    labels: np.ndarray, predictions: np.ndarray, test: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 and balanced accuracy of held-out windows, as scikit-learn defines them.

    Macro F1 averages over classes that occur among the true or the predicted labels of the
    fold, balanced accuracy (mean recall) over those among the true ones.

    Args:
        labels: (windows,) class indices.
        predictions: (layers, folds, windows) class indices.
        test: (folds, windows) bool.
        num_classes: number of classes.

    Returns:
        Macro F1 and balanced accuracy, (layers, folds) float64 each.
    """
    layers, folds, _ = predictions.shape
    confusion = np.zeros((layers, folds, num_classes, num_classes))  # true, predicted
    for layer, fold in np.ndindex(layers, folds):
        held = test[fold]
        cell = labels[held] * num_classes + predictions[layer, fold, held]
        confusion[layer, fold] = np.bincount(cell, minlength=num_classes**2).reshape(
            num_classes, num_classes
        )
    hits = np.diagonal(confusion, axis1=2, axis2=3)
    true, predicted = confusion.sum(axis=3), confusion.sum(axis=2)
    occurs = true + predicted > 0
    f1 = np.divide(2 * hits, true + predicted, out=np.zeros_like(hits), where=occurs)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    return f1.sum(axis=2) / occurs.sum(axis=2), recall.sum(axis=2) / (true > 0).sum(axis=2)
