"""Closed forms find what was planted, and agree with scikit-learn and scipy."""

import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.linear_model import Ridge

from jaxbridge.methods.linear_map import LinearMap, coral_map, procrustes_map, ridge_map


def _features(windows: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((windows, width)) @ rng.standard_normal((width, width)) + 3


def test_ridge_is_scikit_learns_at_the_penalty_of_lowest_validation_error():
    rng = np.random.default_rng(1)
    x, y = _features(40, 6), rng.standard_normal((40, 5))
    y += x @ rng.standard_normal((6, 5))
    val = slice(30, None)
    penalties = np.array([1e-2, 1.0, 30.0, 1e3])
    found = ridge_map(x[:30], y[:30], x[val], y[val], penalties)
    models = [Ridge(alpha=p).fit(x[:30], y[:30]) for p in penalties]
    errors = [np.sum((m.predict(x[val]) - y[val]) ** 2) for m in models]
    assert found.chosen == np.argmin(errors)
    np.testing.assert_allclose(found.kernel, models[found.chosen].coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.bias, models[found.chosen].intercept_, rtol=1e-8, atol=1e-10)


def test_ridge_recovers_a_planted_map():
    rng = np.random.default_rng(2)
    x, kernel, bias = _features(60, 5), rng.standard_normal((5, 12)), rng.standard_normal(12)
    y = x @ kernel + bias
    found = ridge_map(x[:40], y[:40], x[40:], y[40:], np.array([1e-9, 1.0]))
    assert found.chosen == 0
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    out = LinearMap(found.kernel, found.bias, tokens=3)(x[:4].astype(np.float32))
    assert out.shape == (4, 3, 4)
    np.testing.assert_allclose(np.asarray(out).reshape(4, 12), y[:4], rtol=1e-4, atol=1e-4)


def test_the_arithmetic_of_ridge_is_that_of_all_penalties():
    x, y = _features(40, 30), _features(40, 50, seed=9)
    one, eight = (
        40 * ridge_map(x, y, x, y, np.logspace(0, 3, count)).program.flops_and_memory()[0]
        for count in (1, 8)
    )
    products = 7 * 2 * 40 * 30 * 50  # of validation windows with the map of each further penalty
    assert products <= eight - one <= 1.5 * products


def test_procrustes_recovers_a_rotation_scale_and_shift():
    rng = np.random.default_rng(3)
    x = _features(50, 4)
    rotation = stats.ortho_group.rvs(4, random_state=rng)
    found = procrustes_map(x, 2.5 * x @ rotation + np.arange(4))
    np.testing.assert_allclose(found.kernel, 2.5 * rotation, atol=1e-9)
    np.testing.assert_allclose(found.bias, np.arange(4), atol=1e-8)


@pytest.mark.parametrize("widths", [(4, 4), (3, 6), (6, 3)])
def test_procrustes_is_scipys_on_padded_features(widths):
    x, y = _features(50, widths[0]), _features(50, widths[1], seed=9)
    found = procrustes_map(x, y)
    top = max(widths)
    a, b = (np.pad(v - v.mean(axis=0), ((0, 0), (0, top - v.shape[1]))) for v in (x, y))
    rotation = linalg.orthogonal_procrustes(a, b)[0][: widths[0], : widths[1]]
    assert found.kernel.shape == widths
    cosine = np.sum(found.kernel * rotation) / linalg.norm(found.kernel) / linalg.norm(rotation)
    assert cosine == pytest.approx(1, abs=1e-9)
    moved = x @ found.kernel + found.bias
    np.testing.assert_allclose(moved.mean(axis=0), y.mean(axis=0), atol=1e-8)
    assert moved.var(axis=0).sum() == pytest.approx(y.var(axis=0).sum())


def test_coral_gives_the_targets_moments_and_recovers_a_symmetric_map():
    x, y = _features(80, 5), _features(60, 5, seed=9)
    found = coral_map(x, y, 1e-9)
    moved = x @ found.kernel + found.bias
    np.testing.assert_allclose(moved.mean(axis=0), y.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.cov(moved.T, ddof=0), np.cov(y.T, ddof=0), rtol=1e-4, atol=1e-4)
    white = (x - x.mean(axis=0)) @ linalg.inv(linalg.sqrtm(np.cov(x.T, ddof=0)))
    planted = np.eye(5) + 0.1
    np.testing.assert_allclose(coral_map(white, white @ planted, 1e-9).kernel, planted, atol=1e-5)


@pytest.mark.parametrize("widths", [(3, 6), (6, 3)])
def test_coral_of_unlike_widths_has_the_shape_asked_for_and_ignores_pairs(widths):
    x, y = _features(50, widths[0]), _features(50, widths[1], seed=9)
    found = coral_map(x, y, 1e-3)
    assert found.kernel.shape == widths and np.isfinite(found.kernel).all()
    np.testing.assert_allclose(coral_map(x, y[::-1], 1e-3).kernel, found.kernel, atol=1e-8)
