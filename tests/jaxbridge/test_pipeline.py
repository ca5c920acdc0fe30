"""The whole method on small encoders: results, stages on disk, resuming, refusals."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, pipeline, transfer
from jaxbridge.bridge import num_parameters
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.pipeline import STAGES
from jaxbridge.pretrained import from_pretrained, pretrained_config
from jaxbridge.report import run_page
from jaxbridge.report.pictures import draw
from jaxbridge.run_folder import read_curve
from jaxbridge.training import fitting, pair_data
from jaxbridge.training.fitting import Epoch
from jaxbridge.training.metric_log import read_log
from jaxbridge.training.target_cache import CacheSettings
from model_ports import weights_hash
from model_ports.errors import InputError
from tests.jaxbridge import tiny
from tests.jaxbridge.report.parsed import check_page
from tests.jaxbridge.toy import Toy

_SETTINGS = TransferSettings(
    "eeg", "ecg",
    head=HeadSettings(unfrozen=True, epochs=4, learning_rate=1e-3, batch_size=8),
    bridge=BridgeSettings(rank=4, num_prototypes=6, epochs=25, batch_size=8, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    old, new = tiny.encoders()
    return folder, transfer(tiny.windows(), old, new, _SETTINGS, out=folder)


def _scores(result, split: str = "test") -> dict[str, float]:
    return {
        row["method"]: row["balanced_accuracy"]
        for row in result.metrics if row["split"] == split
    }


def test_the_bridge_carries_the_task_over(finished):
    scores = _scores(finished[1])
    assert scores["chance"] == 0.5
    assert scores["teacher"] >= 0.9
    assert scores["oracle"] >= 0.9
    assert scores["bridge"] >= 0.8
    assert scores["bridge, shuffled pairs"] <= 0.7


def test_the_returned_model_gives_the_reported_predictions(finished):
    _, result = finished
    windows = tiny.windows()
    test = windows.indices("test")
    predicted = np.asarray(result.model(windows.read("ecg", test))).argmax(axis=1)
    right = [np.mean(predicted[windows.labels[test] == c] == c) for c in (0, 1)]
    assert _scores(result)["bridge"] == pytest.approx(np.mean(right))


def test_the_run_folder_holds_everything(finished):
    folder, result = finished
    record = json.loads((folder / "run.json").read_text())
    old, new = tiny.encoders()
    assert record["settings"]["seed"] == 0
    assert record["settings"]["windows_hash"] == tiny.windows().hash
    assert record["settings"]["class_names"] == ["slow", "fast"]
    assert record["settings"]["old"]["weights_hash"] == weights_hash(old)
    assert record["settings"]["new"]["weights_hash"] == weights_hash(new)
    assert record["versions"]["jax"] == jax.__version__
    for stage in STAGES:
        done = json.loads((folder / stage / "done.json").read_text())
        assert done["seconds"] > 0 and done["peak_memory_bytes"] > 1e7
    assert json.loads((folder / "report" / "metrics.json").read_text()) == result.metrics
    with (folder / "report" / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result.metrics) == 15
    with (folder / "scan" / "selection.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3
    (chosen,) = [row for row in rows if row["chosen"] == "True"]
    assert (int(chosen["new_layer_output"]), int(chosen["old_layer_input"])) == (
        result.selection.m, result.selection.l
    )


def test_the_bridge_can_be_loaded_again_with_the_trained_old_encoder(finished):
    folder, result = finished
    old, new = tiny.encoders()
    saved = folder / "report" / "pretrained"
    model = from_pretrained(saved, old=folder / "report" / "old_encoder", new=new)
    signal = tiny.windows().read("ecg", np.arange(4))
    np.testing.assert_array_equal(model(signal), result.model(signal))
    with pytest.raises(InputError, match="trained with other weights of the old encoder"):
        from_pretrained(saved, old=old, new=new)
    config = pretrained_config(saved)
    assert [row for row in result.metrics if row["method"] == "bridge"] == config["metrics"]
    assert config["preprocessing"]["windows_hash"] == tiny.windows().hash


def test_a_bridge_alone_comes_with_the_old_encoder_whose_norms_it_moved(tmp_path, caplog):
    caplog.set_level("INFO", "jaxbridge")
    old, new = tiny.encoders()
    settings = dataclasses.replace(
        _SETTINGS, position=(1, 1), head=HeadSettings(epochs=2),
        bridge=dataclasses.replace(_SETTINGS.bridge, epochs=2, trainable="bridge_and_old_norms"),
        cache=CacheSettings("disk"),
    )
    before = weights_hash(old)
    result = transfer(tiny.windows(), old, new, settings, out=tmp_path / "run", until="bridge")
    assert weights_hash(old) == before != weights_hash(result.model.old)
    assert f"{tmp_path / 'run' / 'cache'}: targets, kept for a whole run" in caplog.text
    assert any((tmp_path / "run" / "cache").glob("*.targets"))
    saved = tmp_path / "run" / "pretrained"
    model = from_pretrained(saved, old=tmp_path / "run" / "old_encoder", new=new)
    signal = tiny.windows().read("ecg", np.arange(4))
    np.testing.assert_array_equal(model(signal), result.model(signal))
    with pytest.raises(InputError, match="trained with other weights of the old encoder"):
        from_pretrained(saved, old=old, new=new)


@pytest.mark.parametrize(("broken", "until", "what"), [
    ("save_module", "bridge", "the bridge"), ("fit_head", "report", "on shuffled pairs"),
])
def test_what_fails_behind_the_last_epoch_costs_no_training(tmp_path, monkeypatch, broken, until, what):
    """A full disk when the bridge is written, a kill while the oracle is fitted."""
    def failing(*_, **__):
        raise KeyboardInterrupt

    count = 64
    rng, splits = np.random.default_rng(0), np.resize(["train", "val", "pair", "test"], count)
    arrays = {name: rng.standard_normal((count, 4, 3)) for name in ("eeg", "ecg")}
    windows = ArrayWindows(arrays, np.arange(count) // 4 % 2, splits, ("a", "b"))
    settings = TransferSettings(
        "eeg", "ecg", position=(1, 1), head=HeadSettings(epochs=1), checkpoint_every=1,
        bridge=BridgeSettings(rank=2, num_prototypes=2, epochs=1, batch_size=8),
    )
    given = windows, Toy(rngs=nnx.Rngs(0)), Toy(rngs=nnx.Rngs(1)), settings
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, broken, failing)
        with pytest.raises(KeyboardInterrupt):
            transfer(*given, out=tmp_path / "run", until=until)
    one_epoch = fitting._Run._one_epoch

    def watched(run, preemption):
        assert run.what != f"training {what}", "trained again"
        return one_epoch(run, preemption)

    monkeypatch.setattr(fitting._Run, "_one_epoch", watched)
    transfer(*given, out=tmp_path / "run", until=until)


def test_the_teacher_is_judged_with_its_own_head(tmp_path, monkeypatch):
    old, new = tiny.encoders()
    settings = dataclasses.replace(
        _SETTINGS, position=(1, 3), head=HeadSettings(epochs=2),
        bridge=dataclasses.replace(
            _SETTINGS.bridge, epochs=2, trainable="bridge_and_head", logit_weight=1.0,
        ),
    )
    heads, train = [], pair_data.PairData.train

    def trained(self, model, *arguments, **named):
        heads.append(np.asarray(model.head.layers[0].kernel[...]))
        return train(self, model, *arguments, **named)

    monkeypatch.setattr(pair_data.PairData, "train", trained)
    logits, of_teacher = [], pipeline._Run._teacher_logits
    monkeypatch.setattr(
        pipeline._Run, "_teacher_logits", lambda run: logits.append(of_teacher(run)) or logits[-1]
    )
    result = transfer(tiny.windows(), old, new, settings, out=tmp_path / "run")
    bridge, control = heads
    np.testing.assert_array_equal(control, bridge)
    assert len(logits) > 1 and all(np.array_equal(logits[0], later) for later in logits)
    assert not np.array_equal(result.model.head.layers[0].kernel[...], bridge)
    counted = {row["trainable_parameters"] for row in result.metrics if row["method"] == "bridge"}
    assert counted == {num_parameters(result.model.bridge) + num_parameters(result.model.head)}


def test_training_stages_log_their_epochs(finished):
    folder, _ = finished
    for stage, curve in (
        ("teacher", "curve"), ("bridge", "curve"), ("controls", "shuffled_curve"),
    ):
        rows = read_log(folder / stage / "log.jsonl")
        logged = [Epoch(row["epoch"], row["train_loss"], row["val_loss"]) for row in rows]
        assert logged == read_curve(folder / stage / f"{curve}.csv")
        assert {row["stage"] for row in rows} == {stage}


def test_pictures_are_drawn_from_the_folder(finished):
    folder, _ = finished
    names = [path.name for path in draw(folder)]
    assert names == ["layer_scan.png", "training_curve.png", "confusion.png"]
    for name in names:
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_page_is_made_from_the_folder(finished):
    folder, result = finished
    page = check_page(run_page.write(folder).read_text(encoding="utf-8"))
    wanted = {"Where the bridge goes", "Example windows", "Calibration and abstention"}
    assert wanted <= {*page.headings}
    assert page.column("Balanced accuracy in every split", "test")["bridge"] == (
        f"{_scores(result)['bridge']:.3f}"
    )
    with np.load(folder / "report" / "test.npz") as arrays:
        right = arrays["bridge"].argmax(axis=1) == arrays["labels"]
    assert right.mean() == pytest.approx(_scores(result)["bridge"])


def test_trainable_parameters_are_told(finished):
    _, result = finished
    rows = {row["method"]: row["trainable_parameters"] for row in result.metrics}
    old, _ = tiny.encoders()
    assert rows["teacher"] == num_parameters(old) + 200 * 2 + 2
    assert rows["bridge"] == 4 * 16 + 4 * 5 * 6 + 6 * 200
    assert rows["oracle"] == 16 * 2 + 2


@pytest.mark.slow
def test_finished_stages_are_kept_and_reruns_give_the_same_bits(finished, monkeypatch):
    folder, result = finished
    old, new = tiny.encoders()
    stamps = {stage: (folder / stage / "done.json").stat().st_mtime_ns for stage in STAGES}
    again = transfer(tiny.windows(), old, new, _SETTINGS, out=folder)
    assert again.metrics == result.metrics
    assert stamps == {s: (folder / s / "done.json").stat().st_mtime_ns for s in STAGES}

    before = np.asarray(result.model.bridge.low_rank_b[...])
    rerun = transfer(tiny.windows(), old, new, _SETTINGS, out=folder, rerun=["bridge"])
    changed = [
        s for s in STAGES if stamps[s] != (folder / s / "done.json").stat().st_mtime_ns
    ]
    assert changed == ["bridge", "controls", "report"]
    assert np.asarray(rerun.model.bridge.low_rank_b[...]).tobytes() == before.tobytes()
    assert rerun.metrics == result.metrics


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch, caplog):
    old, new = tiny.encoders()
    caplog.set_level("INFO", "jaxbridge")
    settings = dataclasses.replace(
        _SETTINGS, position=(1, 1),
        head=HeadSettings(epochs=3, hidden=5), bridge=dataclasses.replace(_SETTINGS.bridge, epochs=2),
    )
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    windows = tiny.windows()
    with monkeypatch.context() as patch:
        read = windows.read
        patch.setattr(
            windows, "read", lambda m, i: killed() if m == "ecg" and i[0] > 60 else read(m, i)
        )
        with pytest.raises(KeyboardInterrupt):
            transfer(windows, old, new, settings, out=tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".features.partial", "run.json", "teacher"
    ]
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(pair_data, "train_bridge", killed)
        with pytest.raises(KeyboardInterrupt):
            transfer(tiny.windows(), old, new, settings, out=tmp_path / "run")
    assert "all layers of labram: found" in caplog.text
    assert "all layers of hubert_ecg_small: 32 of 80 windows found" in caplog.text
    assert caplog.text.count("parameters by module:") == 1
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        ".bridge.partial", "features", "run.json", "teacher"
    ]
    stamp = (tmp_path / "run" / "features" / "done.json").stat().st_mtime_ns
    result = transfer(tiny.windows(), old, new, settings, out=tmp_path / "run")
    assert stamp == (tmp_path / "run" / "features" / "done.json").stat().st_mtime_ns
    assert result.selection is None
    assert result.metrics == transfer(tiny.windows(), old, new, settings).metrics


def test_other_settings_in_the_same_folder_are_refused(finished):
    folder, _ = finished
    old, new = tiny.encoders()
    changed = dataclasses.replace(_SETTINGS, seed=7)
    with pytest.raises(InputError, match=r"other settings.*\n  seed: 0 there, 7 now"):
        transfer(tiny.windows(), old, new, changed, out=folder)
    with pytest.raises(InputError, match="no stage teach; the stages are teacher, features"):
        transfer(tiny.windows(), old, new, _SETTINGS, out=folder, rerun=["teach"])
    assert (folder / "report" / "metrics.json").exists()


def test_windows_that_do_not_fit_are_refused(monkeypatch):
    old, new = tiny.encoders()
    good = tiny.windows()
    with pytest.raises(InputError, match="no modality 'emg'; the windows have eeg, ecg"):
        transfer(good, old, new, dataclasses.replace(_SETTINGS, new_modality="emg"))

    def with_splits(splits):
        return ArrayWindows(
            {k: good.read(k, np.arange(80)) for k in ("eeg", "ecg")}, good.labels, splits,
            good.class_names,
        )

    no_pairs = np.where(good.splits == "pair", "train", good.splits)
    with pytest.raises(InputError, match="split 'pair' has no windows"):
        transfer(with_splits(no_pairs), old, new, _SETTINGS)
    one_class = np.where((good.splits == "test") & (good.labels == 1), "train", good.splits)
    with pytest.raises(InputError, match="split 'test' has no window of class fast"):
        transfer(with_splits(one_class), old, new, _SETTINGS)
    with pytest.raises(InputError, match="the old encoder has layers 0 to 2, and 3 stands for"):
        transfer(good, old, new, dataclasses.replace(_SETTINGS, position=(0, 4)))
    batch = dataclasses.replace(_SETTINGS.bridge, batch_size=100)
    with pytest.raises(InputError, match="batch size 100 does not fit 20 training windows"):
        transfer(good, old, new, dataclasses.replace(_SETTINGS, bridge=batch, position=(0, 3)))
    monkeypatch.setattr(pipeline, "teacher_stage", None)  # before anything is computed
    with pytest.raises(InputError, match="batch size 100 does not fit 20 training windows"):
        transfer(good, old, new, dataclasses.replace(_SETTINGS, bridge=batch, position=(0, 3)))
    for changes, message in (
        ({"warmup_steps": 75}, "warmup_steps is 75, but the run has 75 steps"),
        ({"prototypes": "real", "num_prototypes": 999}, "999 prototypes cannot be drawn from"),
    ):
        bridge = dataclasses.replace(_SETTINGS.bridge, **changes)
        for position in (None, (0, 3)):
            with pytest.raises(InputError, match=message):
                transfer(good, old, new, dataclasses.replace(
                    _SETTINGS, bridge=bridge, position=position
                ))
    weights = dataclasses.replace(_SETTINGS.head, class_weights=(1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="class weights 1, 2, 3: give one for each .* slow, fast"):
        transfer(good, old, new, dataclasses.replace(_SETTINGS, head=weights))
    with pytest.raises(InputError, match="class weights 1, -2: give positive ones"):
        dataclasses.replace(_SETTINGS.head, class_weights=(1.0, -2.0))
    with pytest.raises(InputError, match="no log wandb"):
        dataclasses.replace(_SETTINGS, log=("wandb",))
    with pytest.raises(InputError, match="folds is 1; it must be at least 2"):
        dataclasses.replace(_SETTINGS, folds=1)
    prototypes = dataclasses.replace(_SETTINGS.bridge, trainable="prototypes")
    with pytest.raises(InputError, match="trainable='prototypes' moves nothing"):
        dataclasses.replace(_SETTINGS, bridge=prototypes)
    from_ridge = dataclasses.replace(prototypes, start="ridge")
    assert dataclasses.replace(_SETTINGS, bridge=from_ridge).bridge.start == "ridge"


def test_an_unwritable_folder_is_refused(tmp_path):
    old, new = tiny.encoders()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        transfer(tiny.windows(), old, new, _SETTINGS, out=tmp_path / "file" / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="holds something else"):
        transfer(tiny.windows(), old, new, _SETTINGS, out=tmp_path / "mine")


@pytest.mark.parametrize("subjects, by_subject, folds", [
    (7, True, 5), (3, True, 3), (7, False, None), (None, True, None), (1, True, None),
])
def test_folds_keep_subjects_apart_where_they_are_known(monkeypatch, subjects, by_subject, folds):
    rng = np.random.default_rng(0)
    labels, splits = np.tile([0, 1], 40), np.repeat(["train", "val", "pair", "test"], 20)
    signals = {k: rng.standard_normal((80, 4, 3)) for k in ("old", "new")}
    windows = ArrayWindows(
        signals, labels, splits, ("a", "b"),
        subjects=None if subjects is None else np.arange(80) // 2 % subjects,
    )
    settings = dataclasses.replace(
        _SETTINGS, old_modality="old", new_modality="new", head=HeadSettings(epochs=1),
        fold_by_subject=by_subject,
    )
    given = {}

    def stop(*args, **kwargs):
        given.update(kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "two_stage", stop)
    with pytest.raises(KeyboardInterrupt):
        transfer(windows, Toy(rngs=nnx.Rngs(0)), Toy(rngs=nnx.Rngs(1)), settings)
    if folds is None:
        assert given["groups"] is None and given["num_folds"] == 5
    else:
        assert given["groups"].tolist() == windows.subjects[splits == "pair"].tolist()
        assert given["num_folds"] == folds


@pytest.mark.parametrize("unfrozen", [False, True])
@pytest.mark.slow
def test_an_old_encoder_with_context_runs_on_the_mean_of_its_training_windows(unfrozen):
    rng = np.random.default_rng(0)
    good = tiny.windows()
    old_signal = rng.standard_normal((80, 4, 3)) + good.labels[:, None, None]
    windows = ArrayWindows(
        {"old": old_signal, "ecg": good.read("ecg", np.arange(80))}, good.labels, good.splits,
        good.class_names,
    )
    settings = dataclasses.replace(
        _SETTINGS, old_modality="old", position=(1, 1),
        head=HeadSettings(epochs=5, unfrozen=unfrozen),
        bridge=dataclasses.replace(_SETTINGS.bridge, epochs=2),
    )
    _, new = tiny.encoders()
    model = transfer(windows, Toy(rngs=nnx.Rngs(0)), new, settings).model
    train = windows.read("old", windows.indices("train"))
    gain = (1 + np.abs(train).mean(axis=1)).mean(axis=0)
    np.testing.assert_allclose(model.head.context["gain"][...], gain[None], rtol=1e-5)
    signal = windows.read("ecg", np.arange(3))
    tokens = model.bridge(model.pooled(signal))
    out = model.old.run(tokens, 1, 2, {"gain": np.tile(gain, (3, 1))})
    np.testing.assert_allclose(model(signal), model.head(out.mean(axis=1)), rtol=1e-4, atol=1e-5)
