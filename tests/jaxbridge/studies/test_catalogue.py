"""A miniature of every study on toy encoders, and what its variations are."""

import csv
import dataclasses
import json

import pytest

from jaxbridge import methods
from jaxbridge.methods import Bridge
from jaxbridge.studies import catalogue, placed, run_study
from model_ports.errors import InputError
from tests.jaxbridge.studies import toy_setup

# A few of each study; all variations of a kind differ in numbers alone. Every method runs in
# tests/jaxbridge/methods.
_SOME = {
    "methods": ["linear", "random"], "positions": ["two-stage", "first to last"],
    "rank_prototypes": ["rank 2, 5 "], "prototypes": ["real"],
    "start": ["ridge start, 20 %", "closed form, 5 %"], "loss": ["mse, bridge"],
    "logits": ["weight 10"], "epochs": ["1 epochs"],
    "pairs": ["Procrustes", "bridge, 20 %"], "misalignment": ["Procrustes, 0"],
    "noise": ["Procrustes, 10", "Procrustes, 0"], "encoder_size": ["Procrustes"],
    "unpaired": ["Procrustes, 25 %", "Procrustes, 0 %"], "learning_rate": ["bridge, rate 0.01"],
    "schedule": ["bridge, cosine"],
}


def _of_40_epochs():
    bridge = dataclasses.replace(toy_setup.SETTINGS.bridge, epochs=40)
    return toy_setup.setup(settings=dataclasses.replace(toy_setup.SETTINGS, bridge=bridge))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.mark.parametrize("name", catalogue.available())
def test_a_miniature_of_every_study(name, prepared, tmp_path):
    setup = toy_setup.setup()
    study = catalogue.study(name, setup).only(_SOME[name])
    assert run_study(study, setup, tmp_path / "study", [0], prepared=prepared) == []
    with (tmp_path / "study" / "results.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["metric"] == "accuracy" and not r["subject"]]
    assert {r["method"] for r in rows if r["seed"]} == {v.name for v in study.variations}
    assert all(0 <= float(r["value"]) <= 1 for r in rows)
    about = json.loads((tmp_path / "study" / "study.json").read_text())
    if "axis" in about:
        points = about["axis"]["points"]
        assert set(points) == {v.name for v in study.variations}
        assert all(isinstance(point["x"], (int, float)) for point in points.values())


def test_the_two_other_searches_find_positions_that_exist(prepared, tmp_path):
    setup = toy_setup.setup()
    data = setup.prepare(next(iter(setup.cases([0]))), "", prepared)
    found = {}
    for variation in catalogue.study("positions", setup).only(["joint", "exhaustive"]).variations:
        details = variation.method.fit(data, 0).details
        found[variation.name] = details
        m, l = details["position"]  # noqa: E741
        assert 0 <= m < 2 and 0 <= l <= 2
    agreement = found["exhaustive"]["agreement"]
    m, l = found["exhaustive"]["position"]  # noqa: E741
    assert agreement[m][l] == max(max(row) for row in agreement)


def test_the_joint_search_folds_as_the_scan_does(prepared, monkeypatch):
    """By window where nobody is left to be compared with, or where that is asked for."""
    setup = toy_setup.setup()
    data = setup.prepare(next(iter(setup.cases([0]))), "", prepared)
    seen, folds = [], placed.stratified_folds

    def noted(labels, count, *, groups):
        seen.append(groups)
        return folds(labels, count, groups=groups)

    monkeypatch.setattr(placed, "stratified_folds", noted)
    method = placed.SearchedPosition(search="joint")
    one = data.windows.subjects[data.pair] == data.windows.subjects[data.pair[0]]
    method.fit(data.with_pairs(data.pair[one]), 0)
    by_window = dataclasses.replace(data.settings, fold_by_subject=False)
    method.fit(dataclasses.replace(data, settings=by_window), 0)
    assert seen == [None, None]


def test_a_search_that_cannot_be_done_is_refused(prepared):
    with pytest.raises(InputError, match="search is 'exhaustve'; use 'joint' or 'exhaustive'"):
        placed.SearchedPosition(search="exhaustve")
    setup = toy_setup.setup()
    data = setup.prepare(next(iter(setup.cases([0]))), "", prepared)
    none = dataclasses.replace(setup.settings.bridge, epochs=0, start="ridge")
    with pytest.raises(InputError, match="exhaustive search trains its bridges.*1 epoch"):
        placed.SearchedPosition(search="exhaustive", settings=none).fit(data, 0)


def test_fewer_pairs_are_gone_through_as_often_as_gives_as_many_windows():
    setup = toy_setup.setup()
    study = catalogue.study("pairs", setup, ["bridge", "KD", "CORAL"])
    found = {v.name: v for v in study.variations}
    assert len(found) == 12
    usual = setup.settings.bridge.epochs
    few = found["bridge, 5 % of pairs"]
    assert few.method.settings.epochs == 20 * usual and few.change.fraction == 0.05
    assert found["KD, 20 % of pairs"].method.optimisation.epochs == 5 * usual
    assert found["CORAL, 5 % of pairs"].method == methods.method("CORAL")
    # Not as many steps: 17 pairs of 336 take two in a batch of 16.
    assert "sees as many windows" in study.notes[0]


def test_what_a_study_varies_is_in_its_settings():
    setup = toy_setup.setup()
    rates = catalogue.study("learning_rate", setup, ["bridge", "LoRA"]).variations
    assert len(rates) == 2 * len(catalogue.RATES)
    for v in rates:
        trained = v.method.settings if isinstance(v.method, Bridge) else v.method.optimisation
        assert trained.learning_rate == v.values["learning rate"]
    for v in catalogue.study("schedule", setup, ["bridge", "KD"]).variations:
        trained = v.method.settings if isinstance(v.method, Bridge) else v.method.optimisation
        assert trained.schedule == v.values["schedule"]
    grid = catalogue.study("rank_prototypes", setup)
    for v in grid.variations:
        assert (v.method.settings.rank, v.method.settings.num_prototypes) == (
            v.values["rank"], v.values["prototypes"]
        )
    assert len({v.group for v in grid.variations}) == len(catalogue.PROTOTYPES)
    of_40 = [v.method.settings.epochs for v in catalogue.study("epochs", _of_40_epochs()).variations]
    assert of_40 == [40, 20, 10, 5]
    for v in catalogue.study("start", setup).variations:
        trained = v.method.settings
        assert (trained.start == "random") == (v.group == "random start")
        assert (trained.epochs == 0) == (v.group == "closed form")
        assert v.change.fraction == v.values["pairs"] / 100
    for v in catalogue.study("loss", setup).variations:
        assert v.method.settings.location == v.values["location"].replace(" ", "_")
        assert v.method.settings.loss == v.values["loss"]
    every = catalogue.study("methods", setup)
    assert [v.name for v in every.variations] == list(methods.available())
    assert "KD" in every.baselines and "oracle" not in every.baselines
    assert not any(isinstance(methods.method(b), Bridge) for b in every.baselines)


def test_a_setup_may_have_rates_of_its_own():
    setup = toy_setup.setup(rates={"KD": 0.5, "bridge": 0.25})
    found = {v.name: v.method for v in catalogue.study("methods", setup).variations}
    assert found["KD"].optimisation.learning_rate == 0.5
    assert found["bridge"].settings.learning_rate == 0.25
    assert found["LoRA"] == methods.method("LoRA")


def test_refusals():
    setup = toy_setup.setup()
    with pytest.raises(InputError, match="no study 'colour'"):
        catalogue.study("colour", setup)
    with pytest.raises(InputError, match="of the bridge alone"):
        catalogue.study("loss", setup, ["KD"])
    with pytest.raises(InputError, match="Procrustes: not trained by gradients"):
        catalogue.study("learning_rate", setup, ["KD", "Procrustes"])
    with pytest.raises(InputError, match="oracle: not trained by gradients, or with labels"):
        catalogue.study("schedule", setup, ["oracle", "bridge"])
    with pytest.raises(InputError, match="no method 'magic'"):
        catalogue.study("noise", setup, ["magic"])
    with pytest.raises(InputError, match="no sizes"):
        catalogue.study("encoder_size", dataclasses.replace(setup, sizes=()))
