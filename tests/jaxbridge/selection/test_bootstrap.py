"""Every draw against the same score computed anew from the repeated windows."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from jaxbridge.selection import bootstrap
from jaxbridge.selection.bootstrap import Draws, cka_draws, probe_draws, ratio_draws, stability
from model_ports.errors import InputError


def people(windows=48, subjects=6, seed=0):
    """Subject names of unequal share in mixed order."""
    rng = np.random.default_rng(seed)
    names = np.array([f"s{i}" for i in rng.permutation(subjects)])
    shares = np.arange(1, subjects + 1) / np.arange(1, subjects + 1).sum()
    drawn = rng.choice(subjects, windows - subjects, p=shares)
    return names[rng.permutation(np.r_[np.arange(subjects), drawn])]


def repeated(draws, b):
    """Windows of one draw, as often as their subject was drawn."""
    return np.repeat(np.arange(len(draws.member)), draws.counts[b][draws.member])


def sides(windows=48, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((windows, 3))
    new, old = (
        shared @ rng.standard_normal((layers, 3, width))
        + rng.standard_normal((layers, windows, width)) + 4
        for layers, width in ((3, 7), (2, 5))
    )
    new[1, :, 4:] = 0
    return new.astype(np.float32), old.astype(np.float32)


def test_draws_take_as_many_people_as_there_are_and_follow_the_seed():
    groups = people()
    draws = Draws(groups, 48, resamples=50, seed=3)
    assert draws.counts.shape == (50, 6)
    assert (draws.counts.sum(axis=1) == 6).all()
    np.testing.assert_array_equal(Draws(groups, 48, resamples=50, seed=3).counts, draws.counts)
    assert (Draws(groups, 48, resamples=50, seed=4).counts != draws.counts).any()


def test_windows_without_subject_go_in_blocks():
    assert Draws(None, 1000).counts.shape[1] == bootstrap.BLOCKS
    member = Draws(None, 1000).member
    assert (np.bincount(member) == 20).all() and (np.diff(member) >= 0).all()
    assert Draws(None, 10).counts.shape[1] == 10


@pytest.mark.parametrize("criterion", ["macro_f1", "balanced_accuracy"])
def test_probe_scores_of_draws(criterion):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 48)
    predictions = np.where(rng.random((4, 48)) < 0.6, labels, rng.integers(0, 3, (4, 48)))
    draws = Draws(people(), 48, resamples=20)
    value, drawn = probe_draws(predictions, labels, draws, criterion=criterion)

    def slow(layer, rows):
        true, found = labels[rows], predictions[layer, rows]
        if criterion == "macro_f1":
            return f1_score(true, found, average="macro")
        return balanced_accuracy_score(true, found)

    np.testing.assert_allclose(value, [slow(i, np.arange(48)) for i in range(4)])
    expected = [[slow(i, repeated(draws, b)) for i in range(4)] for b in range(20)]
    np.testing.assert_allclose(drawn, expected)


def plain_cka(x, y):
    """Biased linear CKA of two layers in float64."""
    grams = []
    for side in (x, y):
        centred = side.astype(np.float64) - side.astype(np.float64).mean(axis=0)
        grams.append(centred @ centred.T)
    k, g = grams
    return (k * g).sum() / np.sqrt((k * k).sum() * (g * g).sum())


def expected_cka(new, old, rows):
    return [[plain_cka(x[rows], y[rows]) for y in old] for x in new]


def test_cka_of_draws():
    new, old = sides()
    draws = Draws(people(), 48, resamples=20)
    value, drawn = cka_draws(new, old, draws)
    np.testing.assert_allclose(value, expected_cka(new, old, np.arange(48)), atol=1e-5)
    expected = [expected_cka(new, old, repeated(draws, b)) for b in range(20)]
    np.testing.assert_allclose(drawn, expected, atol=2e-5)


def test_cka_of_draws_is_no_rounding():
    """Three people far apart: of one drawn three times too little is left for float32."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 10)
    draws = Draws(groups, 30, resamples=100)
    near = rng.standard_normal((3, 6))[groups] + 0.01 * rng.standard_normal((30, 6))
    new, old = ((near @ rng.standard_normal((2, 6, 5))).astype(np.float32) for _ in range(2))
    _, drawn = cka_draws(new, old, draws)
    alone = draws.counts.max(axis=1) == 3
    assert alone.any() and np.isnan(drawn[alone]).all()
    expected = [expected_cka(new, old, repeated(draws, b)) for b in np.flatnonzero(~alone)]
    np.testing.assert_allclose(drawn[~alone], expected, atol=1e-4)


def test_cka_beyond_the_limit_uses_some_windows_of_everyone(monkeypatch):
    new, old = sides()
    draws = Draws(people(), 48, resamples=5)
    monkeypatch.setattr(bootstrap, "MAX_CKA_WINDOWS", 30)
    chunks, owner = bootstrap._chunks(draws.member, 6)
    kept = chunks[chunks >= 0]
    assert 24 <= len(kept) <= 36 and set(draws.member[kept]) == set(owner) == set(range(6))
    _, drawn = cka_draws(new, old, draws)
    rows = np.repeat(kept, draws.counts[1][draws.member[kept]])
    np.testing.assert_allclose(drawn[1], expected_cka(new, old, rows), atol=2e-5)


def test_spacing_of_class_indices_does_not_matter():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 48), rng.integers(0, 2, (4, 48))
    draws = Draws(people(), 48, resamples=5)
    near = probe_draws(predictions, labels, draws, criterion="macro_f1")
    names = np.array([7, 2**30])
    far = probe_draws(names[predictions], names[labels], draws, criterion="macro_f1")
    np.testing.assert_array_equal(far[0], near[0])
    np.testing.assert_array_equal(far[1], near[1])


def test_draws_that_define_nothing_do_not_count():
    drawn = np.tile([0.5, 0.9], (20, 1))
    drawn[3], drawn[4, 1] = np.nan, np.nan
    found = stability([0.5, 0.9], drawn)
    np.testing.assert_allclose(found.best, [1 / 19, 18 / 19])
    np.testing.assert_allclose([found.low, found.high], [[0.5, 0.9]] * 2)
    with pytest.raises(InputError, match="no draw"):
        stability([0.5, 0.9], np.full((20, 2), np.nan))


def test_ratio_of_draws():
    rng = np.random.default_rng(0)
    error, spread = rng.random((3, 2, 48)), rng.random((2, 48))
    draws = Draws(people(), 48, resamples=5)
    drawn = ratio_draws(error, spread, draws)
    rows = repeated(draws, 2)
    expected = error[..., rows].sum(axis=-1) / spread[:, rows].sum(axis=-1)
    np.testing.assert_allclose(drawn[2], expected)


def test_interval_covers_the_mean_of_people():
    """The interval of a mean over people, against the normal one."""
    rng = np.random.default_rng(0)
    people_means = rng.standard_normal(200)
    draws = Draws(np.repeat(np.arange(200), 5), 1000, resamples=2000)
    drawn = ratio_draws(np.repeat(people_means, 5), np.ones(1000), draws)
    found = stability(people_means.mean(), drawn)
    half = 1.96 * people_means.std() / np.sqrt(200)
    assert found.high - people_means.mean() == pytest.approx(half, rel=0.1)
    assert people_means.mean() - found.low == pytest.approx(half, rel=0.1)


def test_equal_layers_share_the_first_place_and_show_as_ties():
    drawn = np.random.default_rng(0).normal([0.5, 0.9, 0.9], 0.01, (200, 3))
    drawn[:, 2] = drawn[:, 1]
    found = stability([0.5, 0.9, 0.9], drawn)
    np.testing.assert_allclose(found.best, [0, 0.5, 0.5])
    np.testing.assert_array_equal(found.tied, [False, True, True])
    loss = stability([0.5, 0.9, 0.9], drawn, lowest=True)
    np.testing.assert_allclose(loss.best, [1, 0, 0])


def test_a_tie_is_a_distance_within_noise_of_the_same_draws():
    """Two layers far within each other's interval are told apart where one is above in each draw."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 0.1, (500, 1))
    together = stability([0.5, 0.52], level + np.array([0.5, 0.52]))
    np.testing.assert_array_equal(together.tied, [False, True])
    alone = stability([0.5, 0.52], rng.normal(0, 0.1, (500, 2)) + np.array([0.5, 0.52]))
    np.testing.assert_array_equal(alone.tied, [True, True])


def test_bias_of_draws_is_taken_off():
    drawn = np.random.default_rng(0).normal([0.6, 0.3], 0.01, (500, 2))
    found = stability([0.2, 0.3], drawn)
    np.testing.assert_allclose(found.best, [0, 1])
    assert found.low[0] < 0.2 < found.high[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(48), 48), "at least 3"),
        ((people(), 47), "47 windows"),
    ],
)
def test_bad_groups(arguments, message):
    with pytest.raises(InputError, match=message):
        Draws(*arguments)


def test_no_resamples():
    with pytest.raises(InputError, match="resamples is 0"):
        Draws(people(), 48, resamples=0)
