import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.splits import SPLITS, check_classes, split_subjects
from model_ports.errors import InputError

NAMES = st.lists(st.text("abcS0123456789", min_size=1, max_size=6), unique=True, min_size=8)
SIZES = {"train": 9, "val": 3, "pair": 7, "test": 5}


@given(names=NAMES, seed=st.integers(-5, 2**40), data=st.data())
def test_counts_are_kept_and_no_subject_is_shared(names, seed, data):
    sizes = {split: data.draw(st.integers(1, len(names) // 4)) for split in SPLITS}
    got = split_subjects(names, sizes, seed)
    assert {split: len(members) for split, members in got.items()} == sizes
    everybody = [name for members in got.values() for name in members]
    assert len(everybody) == len(set(everybody))
    assert set(everybody) <= set(names)


@given(names=NAMES, seed=st.integers(0, 99), shuffle=st.randoms(use_true_random=False))
def test_order_and_repetition_of_names_change_nothing(names, seed, shuffle: random.Random):
    sizes = {"train": 2, "test": 3}
    again = names + names[:3]
    shuffle.shuffle(again)
    assert split_subjects(again, sizes, seed) == split_subjects(names, sizes, seed)


@given(
    names=NAMES,
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    seed=st.integers(0, 9),
)
def test_fractions_that_add_up_use_every_subject_nearly_as_asked(names, weights, seed):
    sizes = {
        split: weight / sum(weights) for split, weight in zip(SPLITS, weights, strict=True)
    }
    got = split_subjects(names, sizes, seed)
    assert sum(map(len, got.values())) == len(names)
    for split, size in sizes.items():
        assert len(got[split]) >= 1
        if min(sizes.values()) * len(names) >= 1:
            assert abs(len(got[split]) - size * len(names)) < 1 + 1e-9


def test_golden_split_is_the_same_everywhere():
    names = [f"Subject{i:02}" for i in range(26) if i not in (7, 22)]
    got = split_subjects(names, SIZES, seed=0)
    assert got["val"] == ("Subject00", "Subject05", "Subject24")
    assert got["test"] == ("Subject06", "Subject13", "Subject14", "Subject19", "Subject21")


def test_seeds_differ():
    names = [f"S{i}" for i in range(24)]
    assert len({split_subjects(names, SIZES, seed)["test"] for seed in range(5)}) == 5


def test_left_over_subjects_belong_to_no_split():
    got = split_subjects([f"{i}" for i in range(100)], {"train": 33, "val": 11}, 0)
    assert sum(map(len, got.values())) == 44


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 9, "val": 3}, "need 12 subjects, there are 8"),
        ({"train": 2, "val": 0.5}, "all as counts"),
        ({"train": 0.8, "val": 0.5}, "exceed 1"),
        ({"train": 0}, "must be positive"),
        ({"train": -0.5}, "must be positive"),
        ({"train": float("nan")}, "must be positive"),
        ({"dev": 2}, "'dev'.*train, val, pair, test"),
        ({}, "Name some"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(InputError, match=message):
        split_subjects([f"S{i}" for i in range(8)], sizes, 0)


def test_fewer_subjects_than_splits():
    with pytest.raises(InputError, match="there are 2"):
        split_subjects(["a", "b"], {"train": 0.4, "val": 0.3, "test": 0.3}, 0)


def test_absent_class_is_named_with_its_split():
    labels = np.array([0, 1, 0, 0, 1])
    splits = np.array(["train", "train", "val", "val", "test"])
    check_classes(labels, splits, ["rest", "task"], ["train"])
    with pytest.raises(InputError, match="'task' has no window in split 'val'"):
        check_classes(labels, splits, ["rest", "task"], ["train", "val"])
    with pytest.raises(InputError, match="'rest' has no window in split 'test'"):
        check_classes(labels, splits, ["rest", "task"], ["test"])
