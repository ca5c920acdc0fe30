"""The scan of made-up layers, whose answer is known."""

import json

import numpy as np
import pytest

from jaxbridge.features.checks import stack
from jaxbridge.selection import scanner
from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.joint import gram, ridge_maps
from jaxbridge.selection.scanner import scan
from jaxbridge.selection.two_stage import two_stage
from model_ports.errors import InputError

PEOPLE, EACH = 12, 10
GROUPS = np.repeat([f"p{i}" for i in range(PEOPLE)], EACH)
LABELS = np.tile([0, 1], PEOPLE * EACH // 2)


def layers(best, widths, seed):
    """Layers that see a shared state through noise, the best one through the least."""
    rng = np.random.default_rng(seed)
    state = np.random.default_rng(99).standard_normal((len(LABELS), 4))
    state[:, 0] += 3 * LABELS
    return [
        state @ rng.standard_normal((4, w))
        + (1 + 5 * abs(i - best)) * rng.standard_normal((len(LABELS), w))
        for i, w in enumerate(widths)
    ]


@pytest.fixture(scope="module")
def sides():
    return layers(2, (9, 7, 9, 8), 1), layers(0, (6, 5, 6), 2)


@pytest.fixture(scope="module")
def found(sides):
    return scan(*sides, LABELS, groups=GROUPS, resamples=200)


def test_finds_the_layers_that_share_the_state(found):
    assert (found.selection.m, found.selection.l) == (2, 0)
    for table in (found.cka, found.joint):
        assert np.unravel_index(np.argmax(table.value), (4, 3)) == (2, 0)
        assert table.best[2, 0] > 0.95
        assert table.tied.sum() == 1
    assert found.probe.best[2] > 0.9
    assert found.row.value == pytest.approx(found.selection.cka[2], abs=1e-6)
    assert found.chosen[2, 0] > 0.9 and found.chosen.sum() == pytest.approx(1)
    assert found.chance == 0.5 and found.subjects == PEOPLE


def test_choice_is_that_of_two_stage_with_folds_by_subject(sides, found):
    chosen = two_stage(*sides, LABELS, groups=GROUPS)
    np.testing.assert_array_equal(found.selection.probe_scores, chosen.probe_scores)
    np.testing.assert_array_equal(found.selection.cka, chosen.cka)


def test_intervals_hold_the_scores(found):
    for table in (found.probe, found.cka, found.joint):
        assert (table.low <= table.value).all() and (table.value <= table.high).all()


def test_joint_map_of_tokens(sides):
    new, old = sides
    tokens = [np.stack([x, x**2], axis=1) for x in old]
    given = scan(new, old, LABELS, groups=GROUPS, old_tokens=tokens, resamples=10)
    folds = stratified_folds(LABELS, 5, groups=GROUPS)
    expected = ridge_maps(stack(new)[0], np.stack([gram(t) for t in tokens]), folds)
    np.testing.assert_allclose(given.joint.value, expected.r2)


def test_more_windows_than_the_joint_map_takes(sides, found, monkeypatch):
    """Labels alternate and one class is rare: evenly spaced windows would miss a class."""
    monkeypatch.setattr(scanner, "MAX_JOINT_WINDOWS", 60)
    rare = (np.arange(len(LABELS)) % 24 == 1).astype(int)
    for labels in (LABELS, rare):
        given = scan(*sides, labels, groups=GROUPS, resamples=200)
        np.testing.assert_allclose(given.joint.value, found.joint.value, atol=0.2)
        assert np.unravel_index(np.argmax(given.joint.value), (4, 3)) == (2, 0)


def test_every_fold_has_windows_in_the_joint_map(monkeypatch):
    monkeypatch.setattr(scanner, "MAX_JOINT_WINDOWS", 60)
    folds = np.arange(601) // 200 == np.arange(4)[:, None]  # the last holds a single window out
    rows = scanner._joint_rows(folds)
    assert folds[:, rows].sum(axis=1).tolist() == [20, 20, 20, 1]
    np.testing.assert_array_equal(rows, np.unique(rows))


def test_a_subject_whose_signal_was_flat(sides):
    """Of three people some draws take that one alone, whose windows are all alike."""
    groups = np.arange(len(LABELS)) // 40
    flat = [np.where((groups == 0)[:, None], x[:1], x) for x in sides[0]]
    given = scan(flat, sides[1], LABELS, groups=groups, resamples=100)
    json.dumps(given.as_dict(), allow_nan=False)
    for share in (given.chosen, given.cka.best, given.row.best, given.joint.best):
        assert share.sum() == pytest.approx(1)


def test_many_subjects_are_drawn_in_groups(monkeypatch):
    monkeypatch.setattr(scanner, "MAX_SUBJECTS", 5)
    together = scanner._drawn_together(GROUPS, seed=0)
    sizes = [len(set(GROUPS[together == i])) for i in range(5)]
    assert sorted(sizes) == [2, 2, 2, 3, 3]
    assert all(len(set(together[GROUPS == name])) == 1 for name in set(GROUPS))


def test_log_loss_ranks_by_the_lowest(sides):
    given = scan(*sides, LABELS, groups=GROUPS, criterion="log_loss", resamples=50)
    assert given.selection.m == np.argmin(given.probe.value) == np.argmax(given.probe.best) == 2
    sizes = stratified_folds(LABELS, 5, groups=GROUPS).sum(axis=1)
    pooled = given.selection.probe_scores @ sizes / sizes.sum()
    np.testing.assert_allclose(given.probe.value, pooled, rtol=1e-5)
    assert given.chance == pytest.approx(np.log(2))


def test_without_subjects_blocks_are_drawn(sides):
    given = scan(*sides, LABELS, resamples=20)
    assert given.subjects is None


def test_same_seed_same_scan(sides, found):
    again = scan(*sides, LABELS, groups=GROUPS, resamples=200)
    assert json.dumps(again.as_dict()) == json.dumps(found.as_dict())


def test_rows(found):
    rows = found.to_rows()
    assert len(rows) == 12 and sum(row["chosen"] for row in rows) == 1
    row = next(row for row in rows if row["chosen"])
    assert row["joint"] == found.joint.value[2, 0]
    assert row["probe_low"] == found.probe.low[2] and row["cka_high"] == found.cka.high[2, 0]
    assert row["probability_chosen"] == found.chosen[2, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros_like(LABELS)}, "only class 0"),
        ({"labels": LABELS[:-1]}, "119"),
        ({"new_features": [np.full((120, 3), np.nan)]}, "new features, layer 0: NaN"),
        ({"old_features": [np.ones((119, 3))]}, "119"),
        ({"groups": GROUPS[:-1]}, "one subject per window"),
        ({"groups": np.zeros(120)}, "one subject"),
        ({"groups": np.arange(120) // 60}, "at least 3.*no groups"),
        ({"old_tokens": [np.ones((50, 2, 3))] * 3}, "same paired windows"),
        ({"old_tokens": [np.ones((120, 2, 3))] * 2}, "2 layers, but 3 old features"),
        ({"num_folds": 61, "groups": None}, "fewer than the 61 folds"),
        ({"criterion": "accuracy"}, "unknown"),
    ],
)
def test_bad_input(sides, change, message):
    arguments = {"new_features": sides[0], "old_features": sides[1], "labels": LABELS,
                 "groups": GROUPS, "resamples": 5} | change  # fmt: skip
    with pytest.raises(InputError, match=message):
        scan(**arguments)
