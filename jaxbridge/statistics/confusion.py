"""Scores of confusion matrices, many at once, as scikit-learn defines them."""

from collections.abc import Callable

import numpy as np


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """(..., classes, classes) counts, rows true -> (...) share of right ones; NaN without windows."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)), np.nan)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that have windows, (...); NaN without windows."""
    hits, true = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1)
    return _ratio(_ratio(hits, true, 0.0).sum(axis=-1), (true > 0).sum(axis=-1), np.nan)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that are true or predicted somewhere, (...); NaN without windows."""
    f1, both = _f1(confusion)
    return _ratio(f1.sum(axis=-1), (both > 0).sum(axis=-1), np.nan)


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 weighted by true windows, (...); NaN without windows."""
    f1, _ = _f1(confusion)
    true = confusion.sum(axis=-1)
    return _ratio((f1 * true).sum(axis=-1), true.sum(axis=-1), np.nan)


def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa, (...); NaN where one class alone is both true and predicted."""
    count = confusion.sum(axis=(-2, -1))
    observed = np.trace(confusion, axis1=-2, axis2=-1) * count
    expected = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1)
    return _ratio(observed - expected, count * count - expected, np.nan)


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "kappa": kappa,
    "f1_macro": macro_f1, "f1_weighted": weighted_f1,
}


def _f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return _ratio(2 * hits, both, 0.0), both


def _ratio(numerator: np.ndarray, denominator: np.ndarray, otherwise: float) -> np.ndarray:
    found = np.full(np.shape(denominator), otherwise, np.float64)
    return np.divide(numerator, denominator, out=found, where=np.asarray(denominator) > 0)
