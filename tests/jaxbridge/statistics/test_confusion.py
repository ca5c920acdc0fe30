"""Scores of confusion matrices against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge import metrics
from jaxbridge.statistics.confusion import SCORES


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), windows=st.integers(5, 60))
def test_all_scores_are_scikit_learns(seed, classes, windows):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, windows)])
    predicted = np.where(
        rng.random(len(labels)) < 0.5, labels, rng.integers(0, classes, len(labels))
    )
    wanted = metrics.evaluate(labels, predicted, [str(i) for i in range(classes)])
    found = {name: float(score(np.array(wanted["confusion"]))) for name, score in SCORES.items()}
    for name, value in found.items():
        assert value == pytest.approx(wanted[name], abs=1e-12), name


def test_leading_axes_are_separate_matrices_and_empty_ones_are_undefined():
    tables = np.random.default_rng(0).integers(1, 9, (2, 3, 4, 4))
    tables[1, 2] = 0
    for score in SCORES.values():
        found = score(tables)
        assert found.shape == (2, 3)
        assert found[0, 1] == score(tables[0, 1])
        assert np.isnan(found[1, 2]) and np.isfinite(found).sum() == 5


def test_a_class_without_windows_does_not_count_in_balanced_accuracy():
    assert SCORES["balanced_accuracy"](np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]])) == 0.625
