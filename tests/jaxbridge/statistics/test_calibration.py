"""Calibration against scikit-learn's curve and plain loops; abstention against sorting by hand."""

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import balanced_accuracy_score

from jaxbridge.statistics.calibration import abstention, calibration
from model_ports.errors import InputError


def _made_up(windows: int = 400, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    raised = np.exp(1.5 * rng.standard_normal((windows, classes)))
    probabilities = raised / raised.sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(classes, p=p**2 / np.sum(p**2)) for p in probabilities])
    return probabilities, labels


def test_the_reliability_bins_are_scikit_learns():
    probabilities, labels = _made_up()
    found = calibration(probabilities, labels, num_bins=10)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    share, mean = calibration_curve(right, confidence, n_bins=10)
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], share)
    np.testing.assert_allclose(found.confidence[filled], mean)
    assert found.count.sum() == 400
    assert found.ece == pytest.approx(np.sum(found.count[filled] / 400 * abs(share - mean)))


def test_ece_by_a_loop_over_half_open_bins():
    probabilities = np.array([[0.5, 0.5], [0.8, 0.2], [0.4, 0.6], [0.0, 1.0], [0.2, 0.8]])
    labels = np.array([0, 1, 1, 1, 1])
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    wanted = 0.0
    for i in range(5):
        inside = (confidence > i / 5) & (confidence <= (i + 1) / 5)
        if inside.any():
            wanted += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration(probabilities, labels, num_bins=5).ece == pytest.approx(wanted)


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_has():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.5, 1, 40000)
    labels = (rng.random(40000) > p).astype(int)
    good = np.stack([p, 1 - p], axis=1)
    assert calibration(good, labels).ece < 0.015
    sure = np.stack([np.full(40000, 0.999), np.full(40000, 0.001)], axis=1)
    assert calibration(sure, labels).ece == pytest.approx(0.249, abs=0.01)


def test_abstention_is_the_score_of_the_surest_windows():
    probabilities, labels = _made_up()
    found = abstention(probabilities, labels, (0.1, 0.55, 1.0))
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    for i, count in enumerate((40, 220, 400)):
        kept = order[:count]
        predicted = probabilities[kept].argmax(axis=1)
        assert found.coverage[i] == count / 400
        assert found.accuracy[i] == pytest.approx(np.mean(predicted == labels[kept]))
        assert found.balanced_accuracy[i] == pytest.approx(
            balanced_accuracy_score(labels[kept], predicted)
        )
        assert found.threshold[i] == probabilities[kept].max(axis=1).min()
    assert found.accuracy[0] > found.accuracy[-1]
    assert len(abstention(probabilities, labels).coverage) == 20


def test_both_go_into_json():
    probabilities, labels = _made_up(30)
    text = json.dumps([
        calibration(probabilities, labels).as_dict(), abstention(probabilities, labels).as_dict()
    ])
    assert "NaN" not in text


def test_refusals():
    probabilities, labels = _made_up(30)
    with pytest.raises(InputError, match="softmax"):
        calibration(2 * probabilities, labels)
    with pytest.raises(InputError, match="one row per window"):
        calibration(probabilities, labels[1:])
    with pytest.raises(InputError, match="coverages"):
        abstention(probabilities, labels, (0.0,))
    with pytest.raises(InputError, match="num_bins"):
        calibration(probabilities, labels, num_bins=0)
