"""Every subject is tested once and is nowhere else meanwhile."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge.statistics.folds import FoldWindows, subject_folds
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study


@settings(max_examples=30, deadline=None)
@given(people=st.integers(8, 40), folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_test_sets_part_the_subjects_evenly(people, folds, seed):
    names = [f"S{i}" for i in range(people)]
    found = subject_folds(names[::-1] + names, folds, seed=seed)
    tests = [[n for n, split in fold.items() if split == "test"] for fold in found]
    assert sorted(sum(tests, [])) == sorted(names)
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    for fold in found:
        assert set(fold.values()) == {"train", "val", "pair", "test"}


def test_the_deal_depends_on_names_and_seed_alone():
    names = [f"S{i}" for i in range(12)]
    assert subject_folds(names, 3, seed=1) == subject_folds(reversed(names), 3, seed=1)
    assert subject_folds(names, 3, seed=1) != subject_folds(names, 3, seed=2)


def test_windows_of_a_fold_are_the_windows_with_other_splits():
    windows = toy_study.windows()
    first, second = (
        FoldWindows(windows, fold) for fold in subject_folds(windows.subjects, 2)
    )
    tested = np.concatenate([first.indices("test"), second.indices("test")])
    np.testing.assert_array_equal(np.sort(tested), np.arange(192))
    assert not set(windows.subjects[first.indices("test")]) & set(
        windows.subjects[first.indices("pair")]
    )
    np.testing.assert_array_equal(first.read("new", np.array([5])), windows.read("new", np.array([5])))
    assert len({first.hash, second.hash, windows.hash}) == 3
    assert first.class_names == ("low", "high") and first.shape("new") == (12,)


def test_refusals():
    windows = toy_study.windows()
    with pytest.raises(InputError, match="2 to 4 folds"):
        subject_folds("abcd", 5)
    windows.subjects = None
    with pytest.raises(InputError, match="need the subject"):
        FoldWindows(windows, {})
