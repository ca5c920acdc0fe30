import numpy as np
import pytest

from jaxbridge.metrics import evaluate
from model_ports.errors import InputError


def test_against_values_computed_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1])
    predictions = np.array([0, 0, 0, 1, 1, 0])
    found = evaluate(labels, predictions, ("a", "b"))
    assert found["confusion"] == [[3, 1], [1, 1]]
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    expected = (4 * 4 + 2 * 2) / 36
    assert found["kappa"] == pytest.approx((4 / 6 - expected) / (1 - expected))
    f1 = (3 / 4, 1 / 2)
    assert found["f1_macro"] == pytest.approx(np.mean(f1))
    assert found["f1_weighted"] == pytest.approx(np.average(f1, weights=[4, 2]))


def test_an_absent_class_is_refused():
    with pytest.raises(InputError, match="class b has no window"):
        evaluate(np.zeros(3, int), np.zeros(3, int), ("a", "b"))
    with pytest.raises(InputError, match="no windows"):
        evaluate(np.zeros(0, int), np.zeros(0, int), ("a", "b"))
