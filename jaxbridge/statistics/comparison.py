"""Methods against the best baseline, paired over people, corrected for their number."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jaxbridge.statistics.confusion import SCORES
from jaxbridge.statistics.intervals import interval, score_draws, score_of, subject_draws
from jaxbridge.statistics.predictions import Predictions, check_score, pooled
from model_ports.errors import InputError

# Beyond these a difference of scores is rounding.
_DECIMALS = 12


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A method against the best baseline.

    Attributes:
        method, baseline: names.
        score: what was compared.
        difference: method minus baseline, averaged over seeds.
        low, high: 95 % interval of the difference, people resampled for both at once.
        p_bootstrap: two-sided, from the same draws: twice the share on the rarer side of 0.
        p_wilcoxon: two-sided signed-rank test of people's own scores, each averaged over seeds.
        p_bootstrap_holm, p_wilcoxon_holm: corrected for the number of methods compared.
    """

    method: str
    baseline: str
    score: str
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_wilcoxon: float
    p_bootstrap_holm: float
    p_wilcoxon_holm: float

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def against_best(
    results: Mapping[str, Sequence[Predictions]], baselines: Collection[str], *,
    score: str = "balanced_accuracy", resamples: int = 2000, seed: int = 0,
) -> list[Comparison]:
    """Compares every method with the baseline of the highest score, on the same windows.

    The best baseline is the best on these very windows, which favours it. With n people the signed-
    rank test cannot fall below 2 / 2^n: with five it is never below 0.06. The bootstrap is too sure
    of itself with so few.

    Args:
        results: method -> its runs of one split; all of the same seeds, folds and windows.
        baselines: which methods are baselines.
        score: of `SCORES`.
        resamples: draws.
        seed: fixes them.

    Returns:
        One comparison per method but the best baseline, in the order given.

    Raises:
        InputError: no such baseline or score, runs that are not of the same windows, or fewer than
            3 subjects.
    """
    check_score(score)
    if missing := sorted(set(baselines) - set(results)):
        raise InputError(f"there are no results of baseline {', '.join(missing)}.")
    if not baselines:
        raise InputError("name at least one baseline to compare with.")
    _check_paired(results)
    found = {method: pooled(runs) for method, runs in results.items()}
    names = next(iter(found.values()))[0]
    counts = {method: table for method, (_, table) in found.items()}
    values = {method: score_of(table, score) for method, table in counts.items()}
    best = max((m for m in results if m in baselines), key=values.__getitem__)
    draws = subject_draws(names, resamples, seed)
    base = score_draws(counts[best], score, draws)
    rows = []
    for method in (m for m in results if m != best):
        differences = _minus(score_draws(counts[method], score, draws), base)
        bounds = interval(_minus(values[method], values[best]), differences)
        p_wilcoxon = signed_rank(_minus(_own(counts[method], score), _own(counts[best], score)))
        rows.append((method, bounds, bootstrap_p(differences), p_wilcoxon))
    adjusted = zip(
        rows, holm([row[2] for row in rows]), holm([row[3] for row in rows]), strict=True
    )
    return [
        Comparison(method, best, score, *bounds, p_b, p_w, float(h_b), float(h_w))
        for (method, bounds, p_b, p_w), h_b, h_w in adjusted
    ]


def holm(p_values: ArrayLike) -> np.ndarray:
    """Returns p values corrected for their number, in their order (Holm 1979)."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1)
    return out


def bootstrap_p(differences: np.ndarray) -> float:
    """Returns the two-sided p value of resampled differences; at least 2 / (draws + 1)."""
    differences = differences[np.isfinite(differences)]
    rarer = min(np.sum(differences <= 0), np.sum(differences >= 0))
    return float(min(1, 2 * (rarer + 1) / (len(differences) + 1)))


def signed_rank(differences: np.ndarray) -> float:
    """Returns the two-sided p value of Wilcoxon's signed-rank test; 1 where nothing differs."""
    differences = differences[np.isfinite(differences)]
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def _minus(values: ArrayLike, others: ArrayLike) -> np.ndarray:
    """Differences of scores. These are ratios of counts, so many differences are equal, or 0: set apart
    by rounding, they would have ranks and sides of their own."""
    return np.round(np.subtract(values, others), _DECIMALS)


def _own(counts: np.ndarray, score: str) -> np.ndarray:
    """Each subject's own score, averaged over the seeds that have it, (subjects,)."""
    values = SCORES[score](counts)
    defined = np.isfinite(values)
    return np.divide(
        np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0),
        out=np.full(values.shape[1], np.nan), where=defined.any(axis=0),
    )


def _check_paired(results: Mapping[str, Sequence[Predictions]]) -> None:
    def windows(runs: Sequence[Predictions]) -> dict:
        return {(r.seed, r.fold): (r.labels.tolist(), r.subjects.tolist()) for r in runs}

    first, *others = results
    wanted = windows(results[first])
    for method in others:
        if windows(results[method]) != wanted:
            raise InputError(
                f"{method} and {first} are not of the same seeds, folds and windows; run the "
                "missing ones."
            )
