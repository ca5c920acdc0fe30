"""Scores with 95 % intervals from resampled people (Efron & Tibshirani 1993, chapter 13)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxbridge.selection.bootstrap import LEVEL, Draws
from jaxbridge.statistics.confusion import SCORES
from jaxbridge.statistics.predictions import Predictions, check_score, pooled


class Interval(NamedTuple):
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


def intervals(
    runs: Sequence[Predictions], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Mean over seeds of every score of `SCORES`, each with the percentile interval over subjects.

    A score is of all windows of all subjects; a draw takes as many people with replacement, the same
    in every seed. What refitting on other people would change is left out; folds and seeds show it.

    Args:
        runs: of one method and split.
        resamples: draws.
        seed: fixes them.

    Raises:
        InputError: fewer than 3 subjects, or see `pooled`.
    """
    names, counts = pooled(runs)
    draws = subject_draws(names, resamples, seed)
    return {
        name: interval(score_of(counts, name), score_draws(counts, name, draws)) for name in SCORES
    }


def interval(value: float, draws: np.ndarray) -> Interval:
    """Returns the value with the percentile interval of draws; undefined draws do not count."""
    tail = 100 * (1 - LEVEL) / 2
    return Interval(float(value), *map(float, np.nanpercentile(draws, [tail, 100 - tail])))


def subject_draws(names: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """Returns how often each draw takes each subject, (resamples, subjects)."""
    return Draws(np.asarray(names), len(names), resamples=resamples, seed=seed).counts


def score_of(counts: np.ndarray, score: str) -> float:
    """Returns a score, averaged over seeds, of (seeds, subjects, classes, classes) counts."""
    check_score(score)
    return float(np.mean(SCORES[score](counts.sum(axis=1))))


def score_draws(counts: np.ndarray, score: str, draws: np.ndarray) -> np.ndarray:
    """Returns the same of each draw's subjects, (resamples,)."""
    drawn = np.einsum("bs,rskl->brkl", draws, counts)
    with np.errstate(invalid="ignore"):
        values = SCORES[score](drawn)
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.divide(
        total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1)
    )
