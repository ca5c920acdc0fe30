"""The golden holds what the published selector computes (PaPaGei new, ECG-DualNet old)."""

import json
import pathlib

import numpy as np
import pytest

from jaxbridge.selection import reference_probe
from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.two_stage import Selection, two_stage
from model_ports.errors import InputError

GOLDEN = pathlib.Path(__file__).parents[2] / "data" / "golden" / "selection"


@pytest.fixture(scope="module")
def golden():
    arrays = dict(np.load(GOLDEN / "golden.npz"))
    arrays["manifest"] = json.loads((GOLDEN / "manifest.json").read_text())
    arrays["new"] = [arrays[f"new_output_{i:02d}"] for i in range(18)]
    arrays["old"] = [arrays[f"old_input_{i:02d}"] for i in range(5)]
    return arrays


@pytest.fixture(scope="module")
def selection(golden):
    return two_stage(golden["new"], golden["old"], golden["pseudo_labels"])


def test_golden_choice(golden, selection):
    assert (selection.m, selection.l) == (17, 1)
    assert selection.m == golden["manifest"]["chosen_m"]
    assert selection.l == golden["manifest"]["chosen_l"]
    assert selection.m != golden["manifest"]["literal_reference"]["m"]


def test_golden_cka(golden, selection):
    np.testing.assert_allclose(selection.cka, golden["cka_table"], atol=1e-5)
    np.testing.assert_allclose(selection.cka[17], golden["cka"], atol=1e-5)


def test_golden_probes_are_close_at_the_minimum(golden, selection):
    """The golden's solver stopped early: its fold scores differ, its layer means by little."""
    ours, theirs = selection.probe_scores.mean(axis=1), golden["probe_scores"].mean(axis=1)
    assert np.abs(ours - theirs).max() < 0.04
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97


def test_golden_probe_scores_as_published(golden):
    """Some layers that scikit-learn is quick on; the rest in the slow test."""
    labels, some = golden["pseudo_labels"], [0, 2, 3]
    layers = [golden["new"][i] for i in some]
    scores = reference_probe.macro_f1(layers, labels, stratified_folds(labels))
    np.testing.assert_allclose(scores, golden["probe_scores"][some], atol=1e-4)


@pytest.mark.slow
def test_golden_as_published(golden):
    found = two_stage(golden["new"], golden["old"], golden["pseudo_labels"], as_published=True)
    np.testing.assert_allclose(found.probe_scores, golden["probe_scores"], atol=1e-4)
    assert (found.m, found.l) == (17, 1)


def small(seed=0, windows=40):
    rng = np.random.default_rng(seed)
    labels = np.arange(windows) % 2
    weak = rng.standard_normal((windows, 3))
    strong = weak[:, :2] + 4.0 * labels[:, None]
    return [weak, strong, strong], [weak, strong, np.pad(strong, ((0, 0), (0, 4)))], labels


@pytest.mark.parametrize("criterion", ["macro_f1", "balanced_accuracy", "log_loss"])
def test_first_of_equals_wins(criterion):
    new, old, labels = small()
    found = two_stage(new, old, labels, criterion=criterion)
    assert (found.m, found.l) == (1, 1)
    assert found.cka[1, 1] == pytest.approx(1, abs=1e-6)


def test_a_class_that_the_teacher_tells_once_is_scored_as_scikit_learn_does(caplog):
    new, old, labels = small(windows=60)
    labels[7] = 2
    with caplog.at_level("WARNING", "jaxbridge"):
        found = two_stage(new, old, labels)
    assert "fewer windows than folds (class 2: 1)" in caplog.text
    published = two_stage(new, old, labels, as_published=True)
    np.testing.assert_allclose(found.probe_scores, published.probe_scores, atol=1e-6)
    assert found.m == published.m


def test_groups_reach_the_folds():
    """A feature that only tells subjects apart predicts their labels until they are kept apart."""
    rng = np.random.default_rng(0)
    subject = rng.permutation(np.repeat(np.arange(12), 10))
    labels = (np.arange(12) % 2)[subject]
    identity = 5 * np.eye(12)[subject] + 0.1 * rng.standard_normal((120, 12))
    free = two_stage([identity], [identity], labels)
    grouped = two_stage([identity], [identity], labels, groups=subject)
    assert free.probe_scores.mean() > 0.95
    assert grouped.probe_scores.mean() < 0.7


def test_round_trip_through_json_and_rows():
    found = two_stage(*small())
    back = Selection.from_dict(json.loads(json.dumps(found.as_dict())))
    assert (back.m, back.l, back.criterion) == (found.m, found.l, found.criterion)
    np.testing.assert_array_equal(back.cka, found.cka)
    rows = found.to_rows()
    assert len(rows) == 9
    (chosen,) = [row for row in rows if row["chosen"]]
    assert (chosen["new_layer_output"], chosen["old_layer_input"]) == (1, 1)
    assert chosen["probe_macro_f1"] == pytest.approx(found.probe_scores[1].mean())
    assert chosen["cka_debiased"] == found.cka_debiased[1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(40, int)}, "only class 0"),
        ({"labels": np.full(40, np.nan)}, "whole numbers"),
        ({"labels": np.tile(["rest", "load"], 20)}, "whole numbers"),
        ({"labels": []}, r"labels: shape \(0,\)"),
        ({"old": [np.ones((40, 3))]}, r"old features: layers \[0\] are constant"),
        ({"new": [np.zeros((39, 3))]}, "constant|39 windows"),
        ({"new": [np.full((40, 3), np.nan)]}, "new features, layer 0: NaN"),
        ({"num_folds": 21}, "fewer than the 21 folds"),
        ({"criterion": "accuracy"}, "unknown"),
        ({"criterion": "log_loss", "as_published": True}, "macro_f1"),
    ],
)
def test_bad_input(change, message):
    new, old, labels = small()
    arguments = {"new": new, "old": old, "labels": labels} | change
    new, old, labels = (arguments.pop(key) for key in ("new", "old", "labels"))
    with pytest.raises(InputError, match=message):
        two_stage(new, old, labels, **arguments)
