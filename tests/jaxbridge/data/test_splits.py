import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge.data.memory import ArrayWindows
from jaxbridge.data.splits import (
    SPLITS,
    PairSubset,
    SplitRule,
    WindowIndex,
    check_classes,
    kept_pairs,
    split_subjects,
)
from jaxbridge.data.splits.leakage import check_leakage, overlapping
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


def _index(counts, window_s=2.0, step_s=0.5, labels=None, seed=0):
    """Windows of recordings 'S<i>_<j>': counts[i][j] of them, labels drawn or given."""
    names = [(f"S{i}_{j}", f"S{i}", n) for i, row in enumerate(counts) for j, n in enumerate(row)]
    repeats = [n for *_, n in names]
    total = sum(repeats)
    if labels is None:
        labels = np.random.default_rng(seed).integers(0, 3, total)
    return WindowIndex(
        np.repeat([name for name, *_ in names], repeats),
        np.repeat([subject for _, subject, _ in names], repeats),
        labels, np.concatenate([step_s * np.arange(n) for n in repeats]), window_s,
    )


def _slow_overlap(index, splits, split, others):
    found = []
    for i in np.flatnonzero(splits == split):
        for j in range(len(splits)):
            close = abs(index.start_s[i] - index.start_s[j]) < index.window_s - 1e-9
            if splits[j] in others and index.recordings[i] == index.recordings[j] and close:
                found.append(i)
                break
    return found


COUNTS = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=3), min_size=1, max_size=4)


@given(counts=COUNTS, seed=st.integers(0, 99), window_s=st.sampled_from([0.5, 2.0, 2.25]))
def test_overlap_is_what_comparing_every_pair_of_windows_finds(counts, seed, window_s):
    index = _index(counts, window_s)
    splits = np.random.default_rng(seed).choice([*SPLITS, ""], len(index.labels))
    for split, others in (("test", ("train", "pair")), ("val", ("train",)), ("pair", ("val",))):
        got = overlapping(index, splits, split, others)
        assert got.tolist() == _slow_overlap(index, splits, split, others)


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=4, max_size=9),
    seed=st.integers(0, 99), rule=st.sampled_from(["subject", "recording"]), stratify=st.booleans(),
)
def test_units_are_whole_and_never_overlap(counts, seed, rule, stratify):
    index = _index(counts)
    split = SplitRule({"train": 0.5, "pair": 0.25, "test": 0.25}, rule, seed, stratify=stratify)
    splits = split.assign(index)
    units = index.subjects if rule == "subject" else index.recordings
    for unit in np.unique(units):
        assert len(set(splits[units == unit])) == 1
    assert check_leakage(index, splits, allowed=False) == {"test": 0.0}
    recordings = dict(zip(index.recordings.tolist(), index.subjects.tolist(), strict=True))
    known = split.known_before(recordings)
    assert (known is None) == stratify
    if known is not None:
        np.testing.assert_array_equal(split.assign(index, known), splits)


def test_stratified_subjects_are_more_alike_in_their_classes():
    # Half of the people are awake all the time, half asleep: a plain deal is uneven.
    labels = np.repeat(np.arange(24) % 2, 10)
    index = _index([[10]] * 24, labels=labels)
    sizes = {"train": 8, "val": 4, "pair": 8, "test": 4}

    def worst(rule):
        splits = rule.assign(index)
        return max(abs(labels[splits == split].mean() - 0.5) for split in sizes)

    plain = [worst(SplitRule(sizes, seed=seed)) for seed in range(5)]
    even = [worst(SplitRule(sizes, seed=seed, stratify=True)) for seed in range(5)]
    assert max(even) == 0 < max(plain)
    deals = {tuple(SplitRule(sizes, seed=s, stratify=True).assign(index)) for s in range(5)}
    assert len(deals) == 5


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.lists(st.integers(30, 60), min_size=1, max_size=2), min_size=1, max_size=4),
    seed=st.integers(0, 99), guard_s=st.sampled_from([None, 0.0, 1.0]), stratify=st.booleans(),
)
def test_time_blocks_keep_their_distance(counts, seed, guard_s, stratify):
    index = _index(counts)
    sizes = {"train": 0.4, "pair": 0.4, "test": 0.2}
    rule = SplitRule(sizes, "time_block", seed, guard_s, stratify)
    try:
        splits = rule.assign(index)
    except InputError as error:  # a test block of 20 % of 16 s need not hold a window
        assert "gets no window" in str(error)
        return
    gap_s = 2.0 if guard_s is None else guard_s
    for _, chosen in index.by_recording():
        found = [(index.start_s[i], splits[i]) for i in chosen if splits[i]]
        for (start, split), (after, other) in zip(found, found[1:], strict=False):
            if split != other:  # one block after the other, and the gap between them
                assert after >= start + index.window_s + gap_s - 1e-6
        blocks = [split for i, (_, split) in enumerate(found) if i == 0 or found[i - 1][1] != split]
        assert len(blocks) == len(set(blocks))
    assert not any(check_leakage(index, splits, allowed=False).values())


def test_time_blocks_have_the_shares_asked_for():
    index = _index([[2001]], window_s=1.0)
    rule = SplitRule({"train": 0.5, "val": 0.1, "test": 0.3}, "time_block", guard_s=10.0)
    splits = rule.assign(index)
    usable_s = 1001 - 2 * 10
    for split, share in rule.sizes.items():
        got_s = index.start_s[splits == split]
        assert got_s.max() + 1 - got_s.min() == pytest.approx(share * usable_s, abs=1.0)


def test_stratified_time_blocks_choose_orders_that_spread_the_classes():
    # Every recording begins with class 0 and ends with class 1.
    labels = np.tile(np.repeat([0, 1], 50), 12)
    index = _index([[100]] * 12, window_s=0.5, labels=labels)
    sizes = {"train": 0.5, "test": 0.5}
    splits = SplitRule(sizes, "time_block", guard_s=0, stratify=True).assign(index)
    assert labels[splits == "train"].mean() == labels[splits == "test"].mean() == 0.5


def test_random_windows_overlap_and_only_the_papers_rule_may():
    index = _index([[200, 200]])
    rule = SplitRule({"train": 1 / 3, "val": 1 / 9, "pair": 1 / 3, "test": 2 / 9}, "paper")
    splits = rule.assign(index)
    assert {name: int(np.sum(splits == name)) for name in rule.sizes} == {
        "train": 133, "val": 45, "pair": 133, "test": 89
    }
    shares = check_leakage(index, splits, allowed=True)
    for name in ("test", "val"):
        slow = _slow_overlap(index, splits, name, ("train", "pair"))
        assert shares[name] == pytest.approx(len(slow) / np.sum(splits == name))
    with pytest.raises(InputError, match=r"S0_0: the \w+ window from .* overlaps a \w+ window"):
        check_leakage(index, splits, allowed=False)
    # The order in which recordings come does not matter.
    turned = np.r_[200:400, 0:200]
    moved = WindowIndex(*(values[turned] for values in index[:4]), index.window_s)
    np.testing.assert_array_equal(rule.assign(moved), splits[turned])


def test_stratified_random_windows_take_the_share_of_each_class():
    labels = np.repeat([0, 1], [90, 10])
    index = _index([[100]], labels=labels)
    splits = SplitRule({"train": 0.5, "test": 0.5}, "paper", stratify=True).assign(index)
    assert np.sum(labels[splits == "train"]) == np.sum(labels[splits == "test"]) == 5


@pytest.mark.parametrize(("changes", "message"), [
    ({"rule": "random"}, "Unknown split rule 'random'.*paper"),
    ({"rule": "time_block", "sizes": {"train": 2}}, "give fractions"),
    ({"rule": "paper", "sizes": {"train": 2}, "stratify": True}, "give fractions"),
    ({"guard_s": 1.0}, "for time blocks"),
    ({"rule": "time_block", "guard_s": -1.0}, "0 or more seconds"),
    ({"pair_fraction": 0.0}, "more than 0"),
    ({"pair_fraction": float("nan")}, "more than 0"),
    ({"sizes": {"train": 0.9, "test": 0.2}}, "exceed 1"),
])
def test_impossible_rules(changes, message):
    with pytest.raises(InputError, match=message):
        SplitRule(**({"sizes": {"train": 0.5, "test": 0.5}} | changes))


def test_a_split_without_windows_is_refused():
    with pytest.raises(InputError, match="'test' gets no window by rule 'time_block'"):
        SplitRule({"train": 0.9, "test": 0.1}, "time_block").assign(_index([[10]]))


def _windows(counts, seed=0):
    subjects = np.repeat([f"S{i}" for i in range(len(counts))], counts)
    rng = np.random.default_rng(seed)
    splits = rng.choice(["train", "pair", "pair"], len(subjects))
    return ArrayWindows(
        {"eeg": rng.normal(size=(len(subjects), 3))}, np.zeros(len(subjects), int), splits, ["one"],
        subjects,
    )


@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=6), seed=st.integers(0, 9),
    fractions=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4),
)
def test_pair_fractions_are_nested_and_each_subject_keeps_its_share(counts, seed, fractions):
    windows = _windows(counts)
    pairs = windows.indices("pair")
    if not pairs.size:
        return
    previous = set()
    for fraction in sorted(fractions):
        kept = kept_pairs(windows, fraction, seed)
        assert len(kept) == max(1, round(fraction * len(pairs)))
        assert np.all(np.diff(kept) > 0)
        assert previous <= set(kept.tolist()) <= set(pairs.tolist())
        previous = set(kept.tolist())
        for subject in np.unique(windows.subjects[pairs]):
            whole = np.sum(windows.subjects[pairs] == subject)
            assert abs(np.sum(windows.subjects[kept] == subject) - fraction * whole) <= 1.5
    np.testing.assert_array_equal(kept_pairs(windows, 1.0, seed), pairs)


def test_pair_subset_is_a_store_with_fewer_pairs():
    windows = _windows([30, 20])
    subset = PairSubset(windows, 0.5, seed=1)
    np.testing.assert_array_equal(subset.indices("pair"), kept_pairs(windows, 0.5, 1))
    np.testing.assert_array_equal(subset.indices("train"), windows.indices("train"))
    np.testing.assert_array_equal(subset.read("eeg", [3]), windows.read("eeg", [3]))
    assert subset.class_names == ("one",)
    hashes = {windows.hash, subset.hash, PairSubset(windows, 0.5).hash, PairSubset(windows, 0.4).hash}
    assert len(hashes) == 4


def test_golden_rules_are_the_same_everywhere():
    index = _index([[8, 8], [8, 8]], window_s=0.5)
    paper = SplitRule({"train": 0.5, "test": 0.5}, "paper").assign(index)
    assert "".join(split[1] for split in paper[:16]) == "rereerereeeeerre"
    blocks = SplitRule({"train": 0.5, "test": 0.5}, "time_block", guard_s=0).assign(index)
    assert [blocks[i] for i in (0, 8, 16, 24)] == ["test", "train", "train", "train"]
    assert kept_pairs(_windows([5, 5], seed=3), 0.5).tolist() == [0, 7]
