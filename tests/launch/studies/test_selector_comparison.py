"""The comparison of selectors on rows whose answer is plain."""

import numpy as np
import pytest

from launch.studies.selector_comparison import OTHER_BRIDGE, compare, text

ACCURACY = np.array([[0.5, 0.6], [0.7, 0.9]])


def truth(noise=0.0):
    """Two seeds, two bridges, two new layers, two old ones and the head, which is the best."""
    rng = np.random.default_rng(0)
    return [
        {
            "seed": seed, "bridge": bridge, "m": m, "l": l,
            "balanced_accuracy": (reached := 1.0 if l == 2 else ACCURACY[m, l])
            + noise * rng.standard_normal(),
            "agreement": reached, "test_loss": -reached, "val_loss": -reached,
            "val_agreement": reached,
        }
        for seed in range(2) for bridge in range(2) for m in range(2) for l in range(3)  # noqa: E741
    ]  # fmt: skip


def scores(selector, table):
    return [
        {"selector": selector, "seed": seed, "m": m, "l": l, "score": value, "seconds": 1.0 + seed}
        for seed in range(2) for (m, l), value in np.ndenumerate(np.c_[table, [np.nan, np.nan]])  # noqa: E741
    ]  # fmt: skip


def rows_of(*tables, noise=0.0):
    given = [row for name, table in tables for row in scores(name, np.asarray(table))]
    return {row["selector"]: row for row in compare(truth(noise), given)}


def test_a_perfect_and_a_reversed_selector():
    rows = rows_of(("right", ACCURACY**3), ("wrong", -ACCURACY))
    assert rows["right"]["spearman_balanced_accuracy"] == pytest.approx(1)
    assert rows["right"]["spearman_test_loss"] == pytest.approx(1)
    assert rows["right"]["regret_balanced_accuracy"] == pytest.approx(0)
    assert rows["right"]["seconds"] == 1.5
    assert rows["wrong"]["spearman_agreement"] == pytest.approx(-1)
    assert rows["wrong"]["regret_balanced_accuracy"] == pytest.approx(0.4)


def test_the_head_takes_no_part_and_ties_count_by_their_mean():
    rows = rows_of(("tie", [[0, 0], [1, 1]]))
    assert rows["tie"]["regret_balanced_accuracy"] == pytest.approx(0.1)
    assert rows["any position"]["regret_balanced_accuracy"] == pytest.approx(0.9 - ACCURACY.mean())
    assert rows["any position"]["spearman_balanced_accuracy"] == 0


def test_another_bridge_tells_how_far_position_decides():
    clean, noisy = rows_of(("a", ACCURACY)), rows_of(("a", ACCURACY), noise=5.0)
    assert clean[OTHER_BRIDGE]["spearman_balanced_accuracy"] == pytest.approx(1)
    assert noisy[OTHER_BRIDGE]["spearman_balanced_accuracy"] < 0.8
    assert "means over 2 seeds" in text(list(clean.values()))
