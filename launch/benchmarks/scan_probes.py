"""scikit-learn's probes, to time them at a known distance to the minimum."""

import time
import warnings
from collections.abc import Iterable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

# Relative distance to the minimum within which two solvers have solved the same problem.
ARRIVED = 1e-5


class Fits:
    """One fold of every other layer: a part of layers x folds that has easy and hard fits.

    Args:
        features: (layers, windows, width).
        labels: (windows,) class indices.
        folds: how many folds, stratified and not shuffled.

    Attributes:
        chosen: (layer, fold) of every fit.
        minima: bounds from below on their objectives, from float64.
        threads: of BLAS, one or None for as many as there are cores: the faster.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, folds: int):
        self._x, self._y = features, labels
        self._folds = list(StratifiedKFold(folds).split(features[0], labels))
        self.chosen = [(i, i // 2 % folds) for i in range(0, len(features), 2)]
        self.threads: int | None = 1
        self.minima = [self._minimum(*place) for place in self.chosen]
        self.threads = min((1, None), key=self._seconds)

    def solve(self, tolerance: float) -> list[LogisticRegression]:
        """All fits."""
        with threadpool_limits(self.threads), warnings.catch_warnings():
            # The line search ends at rounding error.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return [self._model(tolerance, *place) for place in self.chosen]

    def score(self, tolerance: float) -> list[float]:
        """Macro F1 of all fits, as the reference computes it."""
        models = self.solve(tolerance)
        found = []
        for model, (layer, fold) in zip(models, self.chosen, strict=True):
            test = self._folds[fold][1]
            guess = model.predict(self._x[layer][test])
            found.append(f1_score(self._y[test], guess, average="macro"))
        return found

    def gaps(self, models: Iterable[LogisticRegression]) -> list[float]:
        """Distances of the objectives to their minima, relative."""
        return [
            self._objective(model, *place)[0] / minimum - 1
            for model, place, minimum in zip(models, self.chosen, self.minima, strict=True)
        ]

    def _model(self, tolerance: float, layer: int, fold: int, dtype=None) -> LogisticRegression:
        train = self._folds[fold][0]
        model = LogisticRegression(max_iter=100_000, random_state=0, tol=tolerance)
        return model.fit(self._x[layer][train].astype(dtype or self._x.dtype), self._y[train])

    def _seconds(self, threads: int | None) -> float:
        with threadpool_limits(threads):
            start = time.perf_counter()
            self._model(1e-4, *self.chosen[0])
            return time.perf_counter() - start

    def _minimum(self, layer: int, fold: int) -> float:
        with threadpool_limits(self.threads):
            model = self._model(1e-8, layer, fold, np.float64)
        objective, gradient = self._objective(model, layer, fold)
        # 1-strongly convex in the weights; the free intercepts are at their optimum.
        return objective - 0.5 * np.sum(gradient**2)

    def _objective(self, model: LogisticRegression, layer: int, fold: int):
        """Of the training windows, in float64, and its gradient in the weights."""
        train = self._folds[fold][0]
        x = self._x[layer][train].astype(np.float64)
        weights = model.coef_.astype(np.float64)
        z = x @ weights.T + model.intercept_
        if len(weights) == 1:
            z = np.concatenate([np.zeros_like(z), z], axis=1)
        z = z - z.max(axis=1, keepdims=True)
        log_probability = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        hot = self._y[train][:, None] == model.classes_
        residual = (np.exp(log_probability) - hot)[:, -len(weights):]
        objective = 0.5 * np.sum(weights**2) - np.sum(log_probability[hot])
        return float(objective), residual.T @ x + weights
