"""A study is a queue: each job runs once, a kill or a failure costs one job, results add up."""

import csv
import dataclasses
import errno
import json
import pathlib
import shutil

import numpy as np
import pytest

from jaxbridge import methods
from jaxbridge.methods import Fitted, Procrustes, StudyData
from jaxbridge.statistics.confusion import balanced_accuracy
from jaxbridge.studies import Study, Variation, run_study
from jaxbridge.studies.changes import PairFraction
from jaxbridge.studies.jobs import Job
from jaxbridge.training.preemption import Preempted, Preemption
from jaxbridge.training.sources import Placed
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study
from tests.jaxbridge.studies import toy_setup

_FITS: list[tuple[str, int]] = []


@dataclasses.dataclass(frozen=True)
class Noted(Procrustes):
    """Procrustes, which notes that it was fitted, after whatever `trap` holds was raised."""

    name: str = "noted"

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        if _TRAP and _TRAP[0][:2] == (self.name, seed):
            raise _TRAP.pop()[2]
        _FITS.append((self.name, seed))
        return super()._fit(data, seed, folder)


_TRAP: list[tuple[str, int, BaseException]] = []
_PREPARED: list[pathlib.Path] = []


def _study() -> Study:
    return Study(
        "toy", "Toy", [Variation(name, Noted(name)) for name in ("one", "two", "three")],
        baselines=["one"], averages=["two"],
    )


def _run(out: pathlib.Path, seeds=(0, 1), study=None, **changes) -> list:
    _FITS.clear()
    prepared = out.parent / "prepared" if changes else _PREPARED[0]
    return run_study(
        study or _study(), toy_setup.setup(**changes), out, seeds, prepared=prepared, command="here",
    )


def _rates(*rates: float) -> Study:
    base = toy_setup.SETTINGS.bridge
    return Study("rates", "Rates", [
        Variation(name, methods.Bridge(name, dataclasses.replace(base, learning_rate=rate)))
        for name, rate in ((f"rate {rate:g}", rate) for rate in rates)
    ])


def _table(out: pathlib.Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def _scores(out: pathlib.Path) -> dict:
    return {
        tuple(row[k] for k in ("method", "seed", "fold", "subject", "metric")): row["value"]
        for row in _table(out)
    }


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory):
    _PREPARED[:] = [tmp_path_factory.mktemp("prepared")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("study") / "whole"
    for seeds in ((0,), (0, 1)):
        assert _run(out, seeds) == []
        assert _FITS == [(name, seeds[-1]) for name in ("one", "two", "three")]
    return out


def test_the_table_is_what_the_predictions_say(finished):
    found = _scores(finished)
    for seed in (0, 1):
        with np.load(finished / "jobs" / "two" / f"seed_{seed}_fold_0" / "predictions.npz") as kept:
            confusion = np.zeros((2, 2))
            np.add.at(confusion, (kept["labels"], kept["logits"].argmax(axis=1)), 1)
            assert sorted(set(kept["subjects"])) == [f"{seed}/S{i}" for i in range(12, 16)]
        value = found["two", str(seed), "0", "", "balanced_accuracy"]
        assert float(value) == pytest.approx(balanced_accuracy(confusion))
    of_seeds = [float(found["two", str(seed), "0", "", "balanced_accuracy"]) for seed in (0, 1)]
    # Other seeds' people are others.
    mean = [r for r in _table(finished) if (r["method"], r["seed"], r["subject"]) == ("two", "", "")]
    mean = next(r for r in mean if r["metric"] == "balanced_accuracy")
    assert float(mean["value"]) == pytest.approx(np.mean(of_seeds))
    assert float(mean["low"]) <= float(mean["value"]) <= float(mean["high"])
    about = json.loads((finished / "study.json").read_text())
    assert about["missing"] == 0 and about["failed"] == [] and about["command"] == "here"
    assert about["settings"]["seeds"] == [0, 1] and about["baselines"] == ["one"]


def test_what_is_done_is_not_done_again(finished):
    before = _scores(finished)
    (finished / "results.csv").unlink()
    _run(finished)
    assert _FITS == [] and _scores(finished) == before


def test_a_killed_study_goes_on(finished, tmp_path):
    out = tmp_path / "killed"
    _TRAP.append(("two", 0, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        _run(out, seeds=(0,))
    about = json.loads((out / "study.json").read_text())
    assert about["missing"] == 2 and "2 jobs have not been run" in about["notes"][0]
    assert _run(out, seeds=(0,)) == [] and _FITS == [("two", 0), ("three", 0)]
    wanted = _scores(finished)
    mine = {key: value for key, value in _scores(out).items() if key[1] == "0"}
    assert mine and all(wanted[key] == value for key, value in mine.items())


def test_a_failed_job_is_told_of_and_tried_again(tmp_path):
    out = tmp_path / "study"
    _TRAP.append(("two", 0, ValueError("no luck")))
    failed = _run(out, seeds=(0,))
    assert [job.variation.name for job in failed] == ["two"]
    assert _FITS == [("one", 0), ("three", 0)]
    about = json.loads((out / "study.json").read_text())
    assert about["failed"] == [
        {"variation": "two", "seed": 0, "fold": 0, "error": "ValueError: no luck"}
    ]
    assert _run(out, seeds=(0,)) == [] and _FITS == [("two", 0)]
    assert json.loads((out / "study.json").read_text())["failed"] == []


def test_the_table_of_jobs_that_were_removed_does_not_stay(tmp_path):
    out = tmp_path / "study"
    study = dataclasses.replace(_study(), variations=[Variation("one", Noted("one"))])
    _run(out, seeds=(0,), study=study)
    shutil.rmtree(out / "jobs" / "one" / "seed_0_fold_0")
    _TRAP.append(("one", 0, ValueError("no luck")))
    assert len(_run(out, seeds=(0,), study=study)) == 1
    assert not (out / "results.csv").exists()


def test_bad_input_that_fails_everything_is_raised(tmp_path):
    def windows(seed, folder):
        raise InputError("no such people")

    with pytest.raises(InputError, match="no such people"):
        _run(tmp_path / "study", windows=windows)


def test_other_settings_need_another_folder(finished):
    with pytest.raises(InputError, match="other settings"):
        _run(finished, study=dataclasses.replace(_study(), name="other"))
    other = dataclasses.replace(_study(), variations=[
        Variation("one", Noted("one"), PairFraction(0.5))
    ])
    with pytest.raises(InputError, match="other settings"):
        _run(finished, study=other)


def test_folds_test_every_subject_once(tmp_path):
    study = dataclasses.replace(_study(), variations=[Variation("one", Noted("one"))])
    assert _run(tmp_path / "study", seeds=(0,), study=study, folds=2, same_people=True) == []
    tested = [
        row["subject"] for row in _table(tmp_path / "study")
        if row["metric"] == "accuracy" and row["subject"]
    ]
    assert sorted(tested) == [f"S{i:02d}" for i in range(16)]
    about = json.loads((tmp_path / "study" / "study.json").read_text())["settings"]
    assert about["subject_folds"] == 2 and about["scan_folds"] == toy_setup.SETTINGS.folds
    # Fold 0 of two is not fold 0 of three.
    with pytest.raises(InputError, match="other settings.*\n  subject_folds: 2 there, 3 now"):
        _run(tmp_path / "study", seeds=(0,), study=study, folds=3, same_people=True)


def test_a_group_can_count_as_one(tmp_path):
    study = Study(
        "toy", "Toy",
        [Variation(n, methods.method(n), group="both") for n in ("Procrustes", "random bridge")],
        averages=["both"],
    )
    out = tmp_path / "study"
    assert _run(out, seeds=(0,), study=study) == []
    found = _scores(out)
    mean = found["both, mean of 2", "", "", "", "accuracy"]
    own = [float(found[n, "0", "0", "", "accuracy"]) for n in ("Procrustes", "random bridge")]
    assert float(mean) == pytest.approx(np.mean(own)) and own[0] != own[1]


def test_names_that_would_share_a_folder_are_refused():
    with pytest.raises(InputError, match="named alike"):
        Study("toy", "Toy", [Variation("a, b", Procrustes()), Variation("a b", Procrustes())])
    with pytest.raises(InputError, match="one; two; three"):
        _study().only(["four"])
    assert [v.name for v in _study().only(["o"]).variations] == ["one", "two"]


@pytest.mark.slow
def test_a_training_that_was_killed_or_failed_goes_on_and_its_time_is_that_of_all_epochs(
    tmp_path, monkeypatch
):
    study = Study("toy", "Toy", [Variation("KD", toy_study.small("KD"))])
    setup = toy_setup.setup()
    setup = dataclasses.replace(
        setup, settings=dataclasses.replace(setup.settings, checkpoint_every=2)
    )

    def run(name: str) -> list[Job]:
        return run_study(study, setup, tmp_path / name, [0], prepared=_PREPARED[0])

    assert run("whole") == []
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "reached", lambda self: True)
        with pytest.raises(Preempted):
            run("killed")
    calls, train = [], Placed.train

    def full(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return train(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Placed, "train", full)
        assert "No space left" in run("failed")[0].failure()["error"]
    for name in ("killed", "failed"):
        assert run(name) == []
        assert _scores(tmp_path / "whole") == _scores(tmp_path / name)
        job = tmp_path / name / "jobs" / "KD" / "seed_0_fold_0"
        assert json.loads((job / "details.json").read_text())["resumed"]
        assert not list(job.parent.glob(".*"))
        with (job / "curve.csv").open() as file:
            epochs = len(list(csv.DictReader(file)))
        cost = json.loads((job / "cost.json").read_text())
        assert epochs == toy_setup.SETTINGS.bridge.epochs
        assert not cost["wall_s"] < epochs * cost["epoch_s"]


def test_bridges_of_a_study_train_together(tmp_path, caplog):
    study, setup = _rates(0.01, 0.02), toy_setup.setup()
    for folder, together in (("alone", False), ("together", True)):
        out = tmp_path / folder
        assert run_study(study, setup, out, [0], prepared=_PREPARED[0], together=together) == []
        assert not list((out / "jobs").glob(".*"))
    for name in ("rate_0.01", "rate_0.02"):
        alone, together = (
            np.load(tmp_path / folder / "jobs" / name / "seed_0_fold_0" / "predictions.npz")
            for folder in ("alone", "together")
        )
        for key in alone:
            if alone[key].dtype.kind == "f":
                np.testing.assert_allclose(together[key], alone[key], rtol=5e-3, atol=5e-3)
    details = tmp_path / "together" / "jobs" / "rate_0.01" / "seed_0_fold_0" / "details.json"
    assert json.loads(details.read_text())["trained_with"] == 1


def test_bridges_that_were_killed_together_go_on_and_their_time_is_that_of_all_epochs(
    tmp_path, monkeypatch
):
    study, setup, out = _rates(0.01, 0.02), toy_setup.setup(), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "reached", lambda self: True)
        with pytest.raises(Preempted):
            run_study(study, setup, out, [0], prepared=_PREPARED[0], together=True)
    # As if an epoch took a minute.
    monkeypatch.setattr("jaxbridge.methods.bridge_grid.EpochSeconds.median", lambda self: 60.0)
    assert run_study(study, setup, out, [0], prepared=_PREPARED[0], together=True) == []
    for name in ("rate_0.01", "rate_0.02"):
        job = out / "jobs" / name / "seed_0_fold_0"
        details, cost = (json.loads((job / f"{n}.json").read_text()) for n in ("details", "cost"))
        assert details["resumed"] and details["trained_with"] == 1
        assert cost["wall_s"] == toy_setup.SETTINGS.bridge.epochs * cost["epoch_s"] == 60


def test_one_bad_bridge_does_not_cost_the_others(tmp_path, caplog):
    failed = run_study(
        _rates(0.01, 1e38), toy_setup.setup(), tmp_path / "out", [0], prepared=_PREPARED[0],
        together=True,
    )
    assert [job.variation.name for job in failed] == ["rate 1e+38"]
    assert "one by one" in caplog.text
    assert (tmp_path / "out" / "jobs" / "rate_0.01" / "seed_0_fold_0" / "predictions.npz").exists()


def test_a_bridge_that_predicts_no_numbers_does_not_cost_those_trained_with_it(tmp_path):
    """One step: its loss is that of the start, its end beyond float32."""
    base = dataclasses.replace(toy_setup.SETTINGS.bridge, epochs=1, batch_size=64)
    study = Study("rates", "Rates", [
        Variation(n, methods.Bridge(n, dataclasses.replace(base, learning_rate=rate)))
        for n, rate in (("bad", 3e38), ("good", 0.01))
    ])
    failed = run_study(
        study, toy_setup.setup(), tmp_path / "out", [0], prepared=_PREPARED[0], together=True
    )
    assert [job.variation.name for job in failed] == ["bad"]
    assert "NaN or infinite" in failed[0].failure()["error"]
    assert (tmp_path / "out" / "jobs" / "good" / "seed_0_fold_0" / "predictions.npz").exists()


def test_what_fails_together_for_want_of_memory_is_run_one_by_one(tmp_path, caplog, monkeypatch):
    def full(*args, **more):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr("jaxbridge.studies.run.fit_grid", full)
    failed = run_study(
        _rates(0.01, 0.02), toy_setup.setup(), tmp_path / "out", [0], prepared=_PREPARED[0],
        together=True,
    )
    assert failed == [] and "out of memory" in caplog.text


def test_a_bridge_whose_settings_do_not_fit_the_pairs_does_not_cost_the_others(tmp_path):
    """InfoNCE tells the windows of a batch apart, and here is one pair."""
    base = toy_setup.SETTINGS.bridge
    study = Study("losses", "Losses", [
        Variation(n, methods.Bridge(n, dataclasses.replace(base, loss=n)), PairFraction(0.01))
        for n in ("info_nce", "cosine", "mse")
    ])
    failed = run_study(
        study, toy_setup.setup(), tmp_path / "out", [0], prepared=_PREPARED[0], together=True
    )
    assert [job.variation.name for job in failed] == ["info_nce"]


def test_a_training_that_was_killed_is_not_lost_where_its_data_cannot_be_prepared(
    tmp_path, monkeypatch
):
    study = Study("toy", "Toy", [Variation("KD", toy_study.small("KD"))])
    with monkeypatch.context() as patch:
        patch.setattr(Preemption, "reached", lambda self: True)
        with pytest.raises(Preempted):
            _run(tmp_path / "study", seeds=(0,), study=study)
    wrong = tmp_path / "prepared"
    (wrong / "usual" / "seed_0_fold_0").mkdir(parents=True)
    (wrong / "usual" / "seed_0_fold_0" / "else").touch()
    with pytest.raises(InputError, match="holds something else"):
        run_study(study, toy_setup.setup(), tmp_path / "study", [0], prepared=wrong)
    assert _run(tmp_path / "study", seeds=(0,), study=study) == []
    job = tmp_path / "study" / "jobs" / "KD" / "seed_0_fold_0"
    assert json.loads((job / "details.json").read_text())["resumed"]


@pytest.mark.parametrize("seeds", [(), (0, 0)])
def test_no_seed_and_one_given_twice_are_refused(tmp_path, seeds):
    with pytest.raises(InputError, match="give different ones, at least one"):
        _run(tmp_path / "study", seeds=seeds)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("file", "content"), [
    ("details.json", b"{"), ("details.json", b"{}"), ("cost.json", b"{}"), ("cost.json", b"[1, 2]"),
    ("predictions.npz", b"PK\x03\x04"), ("predictions.npz", b""), ("predictions.npz", None),
    ("details.json", None),
])
def test_a_damaged_job_is_named_before_others_are_run(tmp_path, file, content):
    _run(tmp_path / "study", seeds=(0,))
    before = _scores(tmp_path / "study")
    folder = next((tmp_path / "study" / "jobs" / "two").iterdir())
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{folder} has a damaged file; remove that folder"):
        _run(tmp_path / "study", seeds=(0, 1))
    assert _FITS == []
    shutil.rmtree(folder)
    _run(tmp_path / "study", seeds=(0,))
    assert _FITS == [("two", 0)]
    assert _scores(tmp_path / "study") == before
