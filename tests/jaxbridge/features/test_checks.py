import numpy as np
import pytest

from jaxbridge.features import checks as features
from jaxbridge.selection.folds import stratified_folds
from model_ports.errors import InputError


def test_stack_pads_with_zeros_and_tells_the_widths():
    layers = [np.ones((5, 2)), np.full((5, 3), 2, np.int64)]
    stacked, widths = features.stack(layers)
    assert stacked.shape == (2, 5, 3) and stacked.dtype == np.float32
    assert widths == (2, 3)
    np.testing.assert_array_equal(stacked[0], [[1, 1, 0]] * 5)
    np.testing.assert_array_equal(stacked[1], [[2, 2, 2]] * 5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "no layer given"),
        ([np.ones((5, 2, 3))], r"layer 0: shape \(5, 2, 3\)"),
        ([np.ones((5, 0))], "leave no axis empty"),
        ([np.ones((5, 2)), np.ones((4, 2))], "layer 1 has 4 windows, layer 0 has 5"),
    ],
)
def test_stack_refuses(layers, message):
    with pytest.raises(InputError, match=message):
        features.stack(layers)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_names_the_layer_and_window_of_bad_values(value):
    array = np.zeros((3, 6, 2), np.float32)
    array[1, 4, 0] = value
    with pytest.raises(InputError, match=r"layer 1: NaN or infinite values in 1 windows.*first: 4"):
        features.check(array)


def test_check_accepts_large_finite_values():
    features.check(np.full((1, 4, 3), 3e38, np.float32))


def test_check_refuses_few_windows_and_wrong_axes():
    with pytest.raises(InputError, match="3 windows; at least 4"):
        features.check(np.ones((1, 3, 2)))
    with pytest.raises(InputError, match="is not"):
        features.check(np.ones((3, 2)))


def test_check_not_constant_names_the_layers():
    array = np.random.default_rng(0).standard_normal((3, 6, 2))
    array[2] = 7.0
    with pytest.raises(InputError, match=r"layers \[2\] are constant"):
        features.check_not_constant(array)


def test_check_pairs_refuses_different_window_counts():
    with pytest.raises(InputError, match="5 windows, old features 6"):
        features.check_pairs(np.ones((1, 5, 2)), np.ones((2, 6, 2)))


@pytest.mark.parametrize(
    ("labels", "classes", "folds", "message"),
    [
        ([0, 1, 0], 2, 1, r"shape \(3,\)"),
        ([0, 1, 0, 0.5], 2, 1, "whole numbers"),
        ([0, 1, 0, np.nan], None, 1, "whole numbers"),
        ([0, 1, 0, np.inf], None, 1, "whole numbers"),
        (["a", "b", "a", "b"], None, 1, "whole numbers"),
        ([-1, -1, -1, -1], None, 1, r"-1 \.\. -1 are outside 0 \.\. 1"),
        ([0, 1, 0, 2], 2, 1, r"0 \.\. 2 are outside 0 \.\. 1"),
        ([0, -1, 0, 1], 2, 1, "outside"),
        ([1, 1, 1, 1], 2, 1, "only class 1 occurs"),
        ([0, 0, 0, 1], 2, 2, "class 1 has 1 windows, fewer than the 2 folds"),
        ([0, 2, 0, 1], 3, 2, "class 1 has 1 windows, fewer than the 2 folds"),
        ([0, 0, 0, 1], 1, 1, "at least 2 classes"),
    ],
)
def test_check_labels_refuses(labels, classes, folds, message):
    with pytest.raises(InputError, match=message):
        features.check_labels(labels, 4, classes, num_folds=folds)


def test_check_labels_accepts_whole_floats_and_absent_classes():
    labels = features.check_labels([0.0, 1.0, 0.0, 1.0], 4, 3, num_folds=2)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [0, 1, 0, 1])


def test_folds_hold_every_window_out_once_and_keep_subjects_together():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 120), np.repeat(np.arange(12), 10)
    for masks in (stratified_folds(labels), stratified_folds(labels, 4, groups=groups)):
        np.testing.assert_array_equal(masks.sum(axis=0), 1)
    for mask in masks:
        assert not set(groups[mask]) & set(groups[~mask])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_folds": 1}, "at least 2"),
        ({"num_folds": 5}, "class 1 has 4 windows"),
        ({"num_folds": 3, "groups": np.zeros(5)}, "one subject per window"),
        ({"num_folds": 3, "groups": np.arange(12) // 6}, "2 subjects, fewer than the 3 folds"),
    ],
)
def test_folds_refuse(kwargs, message):
    with pytest.raises(InputError, match=message):
        stratified_folds([0] * 8 + [1] * 4, **kwargs)
