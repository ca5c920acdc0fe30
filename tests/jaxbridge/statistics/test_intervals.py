"""Bootstrap intervals over people: scipy's, pooling of folds, averaging of seeds."""

import numpy as np
import pytest
from scipy import stats

from jaxbridge.statistics.confusion import SCORES
from jaxbridge.statistics.intervals import intervals
from jaxbridge.statistics.predictions import Predictions, pooled
from model_ports.errors import InputError
from tests.jaxbridge.statistics.runs import run


def test_with_equally_many_windows_each_it_is_scipys_percentile_bootstrap_of_the_mean():
    one = run(0.7, people=15)
    own = (one.predicted == one.labels).reshape(15, -1).mean(axis=1)
    wanted = stats.bootstrap(
        (own,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = intervals([one], resamples=20000)["accuracy"]
    assert found.value == pytest.approx(own.mean())
    assert found.low == pytest.approx(wanted.low, abs=0.004)
    assert found.high == pytest.approx(wanted.high, abs=0.004)


def test_a_draw_is_the_score_of_the_repeated_windows():
    one = run(0.6, people=3, each=6)
    found = intervals([one], resamples=4000)
    every = [
        float(SCORES["f1_macro"](one.confusions(["P00", "P01", "P02"])[list(people)].sum(axis=0)))
        for people in np.ndindex(3, 3, 3)
    ]
    assert min(every) <= found["f1_macro"].low <= found["f1_macro"].high <= max(every)
    assert any(found["f1_macro"].low == pytest.approx(value) for value in every)


def test_folds_are_pooled_and_seeds_averaged():
    runs = [run(0.9, seed=0, fold=0, people=4), run(0.5, seed=0, fold=1, people=4, first=4),
            run(0.7, seed=1, people=8)]
    scores = [
        np.mean(np.concatenate([r.predicted == r.labels for r in chosen]))
        for chosen in (runs[:2], runs[2:])
    ]
    assert intervals(runs)["accuracy"].value == pytest.approx(np.mean(scores))
    names, counts = pooled(runs)
    assert names == [f"P{i:02d}" for i in range(8)] and counts.shape == (2, 8, 2, 2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for draw in range(200):
        found = intervals([run(0.7, people=30, each=10, draw=draw)], resamples=300)["accuracy"]
        hits += found.low <= 0.7 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_saved_predictions_come_back(tmp_path):
    one = run(0.8, seed=3, fold=2)
    one.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    assert (back.seed, back.fold) == (3, 2)
    np.testing.assert_array_equal(back.logits, one.logits)
    np.testing.assert_array_equal(back.subjects, one.subjects)
    np.testing.assert_allclose(back.probabilities.sum(axis=1), 1)


def test_refusals():
    with pytest.raises(InputError, match="at least 3"):
        intervals([run(0.5, people=2)])
    with pytest.raises(InputError, match="give each once"):
        intervals([run(0.5), run(0.6)])
    with pytest.raises(InputError, match="no runs"):
        intervals([])
    with pytest.raises(InputError, match="NaN"):
        Predictions(np.full((2, 2), np.nan), np.array([0, 1]), np.array(["a", "b"]))
    with pytest.raises(InputError, match="labels must be 0 to 1"):
        Predictions(np.zeros((2, 2)), np.array([0, 2]), np.array(["a", "b"]))
    with pytest.raises(InputError, match="one row of each"):
        Predictions(np.zeros((2, 2)), np.array([0, 1]), np.array(["a"]))
