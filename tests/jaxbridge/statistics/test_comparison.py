"""Paired tests: Holm by hand, scipy's signed ranks, who is compared with whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxbridge.statistics.comparison import against_best, bootstrap_p, holm, signed_rank
from jaxbridge.statistics.predictions import Predictions
from model_ports.errors import InputError
from tests.jaxbridge.statistics.runs import run


def test_holm_by_hand():
    # Sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, then the running maximum.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_and_the_bonferroni_value_and_keeps_the_order(p):
    found, p = holm(p), np.array(p)
    assert (found >= p - 1e-12).all() and (found <= np.minimum(1, p * len(p)) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_the_signed_rank_test_is_scipys_and_one_where_nothing_differs():
    d = np.random.default_rng(0).normal(0.3, 1, 14)
    assert signed_rank(d) == pytest.approx(stats.wilcoxon(d).pvalue)
    assert signed_rank(np.append(d, np.nan)) == signed_rank(d)
    assert signed_rank(np.zeros(5)) == 1.0


def test_the_bootstrap_p_value_counts_the_rarer_side():
    assert bootstrap_p(np.r_[np.full(95, 1.0), np.full(4, -1.0)]) == pytest.approx(2 * 5 / 100)
    assert bootstrap_p(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap_p(np.zeros(99)) == 1.0


def _runs(skill: float, draw: int, **more):
    return [run(skill, seed=seed, draw=draw, **more) for seed in (0, 1)]


def test_a_clear_difference_is_found_and_none_is_not_made_up():
    results = {
        "good": _runs(0.9, 1), "same": _runs(0.6, 2), "weak baseline": _runs(0.5, 3),
        "baseline": _runs(0.6, 2),
    }
    found = {c.method: c for c in against_best(results, ["weak baseline", "baseline"])}
    assert set(found) == {"good", "same", "weak baseline"}
    assert all(c.baseline == "baseline" for c in found.values())
    good, same = found["good"], found["same"]
    assert good.difference > 0.2 and good.low > 0
    assert good.p_bootstrap_holm < 0.01 and good.p_wilcoxon_holm < 0.01
    assert same.difference == same.low == same.high == 0
    assert same.p_bootstrap == same.p_wilcoxon == same.p_bootstrap_holm == 1
    assert good.p_wilcoxon_holm >= good.p_wilcoxon


def test_pairing_matters():
    """People differ far more than methods do; only the paired interval excludes 0."""
    base, better = (run(0.5, people=12, each=40, noise=0.25, draw=5) for _ in range(2))
    wrong = np.flatnonzero(better.predicted != better.labels)[::8]
    better.logits[wrong] *= -1
    c, = against_best({"better": [better], "base": [base]}, ["base"], score="accuracy")
    own = [(r.predicted == r.labels).reshape(12, -1).mean(axis=1) for r in (better, base)]
    unpaired = stats.ttest_ind(*own).pvalue
    assert c.low > 0 and c.p_wilcoxon < 0.01 < 0.3 < unpaired
    assert c.difference == pytest.approx(np.mean(own[0] - own[1]))


def test_equal_differences_share_a_rank_and_none_is_left_by_rounding():
    """Of ten windows each; .8 - .7, .9 - .8 and .7 - .6 are three floats, and so are sums of them."""
    labels, subjects = np.tile([0, 1], 40), np.repeat([f"P{i}" for i in range(8)], 10)

    def said(hits, seed=0):
        right = np.concatenate([np.arange(10) < k for k in hits])
        sign = np.where(right, 2 * labels - 1, 1 - 2 * labels)
        return Predictions(np.stack([-sign, sign], axis=1), labels, subjects, seed)

    base, better = (7, 8, 6, 5, 9, 4, 7, 8), (8, 9, 7, 6, 7, 5, 6, 9)
    c, = against_best({"a": [said(better)], "b": [said(base)]}, ["b"], score="accuracy")
    assert c.p_wilcoxon == stats.wilcoxon(np.subtract(better, base)).pvalue
    # The same three scores of everybody in another order: nothing differs.
    a, b = ([said([k] * 8, seed) for seed, k in enumerate(ks)] for ks in ((7, 9, 8), (8, 7, 9)))
    c, = against_best({"a": a, "b": b}, ["b"], score="accuracy")
    assert (c.difference, c.low, c.high, c.p_bootstrap, c.p_wilcoxon) == (0, 0, 0, 1, 1)


def test_false_alarms_are_about_as_rare_as_stated():
    alarms = 0
    for draw in range(120):
        results = {
            name: [run(0.6, people=16, draw=2 * draw + i)] for i, name in enumerate("ab")
        }
        c, = against_best(results, ["b"], resamples=300)
        alarms += c.p_wilcoxon < 0.05
    assert alarms / 120 <= 0.11


def test_refusals():
    with pytest.raises(InputError, match="no results of baseline KD"):
        against_best({"a": [run(0.5)]}, ["KD"])
    with pytest.raises(InputError, match="at least one baseline"):
        against_best({"a": [run(0.5)]}, [])
    with pytest.raises(InputError, match="not of the same seeds"):
        against_best({"a": [run(0.5)], "b": [run(0.5, seed=1)]}, ["b"])
    with pytest.raises(InputError, match="no score 'auc'"):
        against_best({"a": [run(0.5)]}, ["a"], score="auc")
