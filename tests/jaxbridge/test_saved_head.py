"""A head fitted by itself: resumed, saved, refused with another encoder, and taken over by a run."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, teacher_stage, transfer
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.head import TaskHead
from jaxbridge.head_run import fit_task_head
from jaxbridge.pretrained import from_pretrained
from jaxbridge.saved_head import load_head, save_head
from jaxbridge.teacher import Teacher, class_weights, fit_head
from jaxbridge.training import fitting
from model_ports.errors import InputError
from model_ports.representations import drawn_signals
from tests.jaxbridge import tiny
from tests.jaxbridge.toy import Toy

_FROZEN = HeadSettings(epochs=30, learning_rate=1e-2, hidden=3, class_weights=(1.0, 2.0))
_UNFROZEN = HeadSettings(unfrozen=True, epochs=2, learning_rate=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    out = tmp_path_factory.mktemp("head") / "run"
    return fit_task_head(tiny.windows(), tiny.encoders()[0], "eeg", _FROZEN, out=out)


@pytest.fixture(scope="module")
def unfrozen(tmp_path_factory):
    out = tmp_path_factory.mktemp("head") / "run"
    return fit_task_head(tiny.windows(), tiny.encoders()[0], "eeg", _UNFROZEN, out=out)


def _logits(teacher, split="test"):
    windows = tiny.windows()
    return np.asarray(teacher(jnp.asarray(windows.read("eeg", windows.indices(split)))))


@pytest.mark.parametrize("kind", ["frozen", "unfrozen"])
@pytest.mark.slow
def test_what_is_read_back_predicts_what_was_fitted(kind, request):
    found, old = request.getfixturevalue(kind), tiny.encoders()[0]
    read = load_head(found.folder, old)
    np.testing.assert_array_equal(_logits(read.teacher), _logits(found.teacher))
    assert read.class_names == ("slow", "fast") and read.modality == "eeg"
    assert read.settings == (_FROZEN if kind == "frozen" else _UNFROZEN)
    labels = tiny.windows().labels[tiny.windows().indices("test")]
    rows = {row["split"]: row for row in found.metrics}
    assert set(rows) == {"train", "val", "test"}
    right = _logits(read.teacher).argmax(axis=1) == labels
    assert rows["test"]["accuracy"] == pytest.approx(right.mean())
    # The encoder that was trained is there; the frozen one is not, and keeps every bit.
    assert (found.folder / "encoder").is_dir() == (kind == "unfrozen")
    same = mp.weights_hash(read.teacher.encoder) == mp.weights_hash(old)
    assert same == (kind == "frozen")
    trained = rows["test"]["trainable_parameters"]
    assert trained == (200 * 3 + 3 + 3 * 2 + 2 if kind == "frozen" else trained) > 0


def test_an_encoder_that_was_trained_is_taken_too(unfrozen):
    read = load_head(unfrozen.folder, unfrozen.teacher.encoder)
    np.testing.assert_array_equal(_logits(read.teacher), _logits(unfrozen.teacher))


def test_a_trained_encoder_of_pictures_draws_its_signals_again(tmp_path):
    start, trained = (
        drawn_signals(tiny.pictures(seed), "spectrogram_angle", frame_samples=64) for seed in (3, 4)
    )
    context = jax.tree.map(
        lambda c: jnp.zeros(c.shape), jax.eval_shape(trained.context, jnp.zeros((1, 300)))
    )
    head = TaskHead(8, 2, rngs=nnx.Rngs(2), context=context)
    save_head(
        Teacher(trained, head), start, tmp_path / "head", settings=HeadSettings(unfrozen=True),
        class_names=("slow", "fast"), modality="ppg", signal_shape=(300,), windows_hash="0",
        preprocessing={}, metrics=[],
    )
    found = load_head(tmp_path / "head", start).teacher.encoder
    assert found.config == trained.config
    assert mp.weights_hash(found) == mp.weights_hash(trained) != mp.weights_hash(start)


@pytest.mark.parametrize("kind", ["frozen", "unfrozen"])
def test_another_encoder_is_refused(kind, request):
    folder = request.getfixturevalue(kind).folder
    with pytest.raises(InputError, match="trained with other weights of the encoder labram"):
        load_head(folder, tiny.encoders(seed=5)[0])
    with pytest.raises(InputError, match="(?s)trained with another encoder:.*name: .labram. there"):
        load_head(folder, tiny.encoders()[1])


def test_damage_is_named(frozen, tmp_path):
    old = tiny.encoders()[0]
    with pytest.raises(InputError, match="is not a saved head"):
        load_head(tmp_path, old)
    folder = tmp_path / "copy"
    shutil.copytree(frozen.folder, folder)
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="copy it again"):
        load_head(folder, old)
    config = json.loads((folder / "config.json").read_text())
    del config["encoder"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="is damaged .KeyError"):
        load_head(folder, old)


@pytest.mark.slow
def test_a_run_goes_on_from_it(frozen, tmp_path):
    settings = TransferSettings(
        "eeg", "ecg", position=(1, 1),
        bridge=BridgeSettings(rank=2, num_prototypes=3, epochs=2, batch_size=8),
    )
    old, new = tiny.encoders()
    given = {"out": tmp_path / "run", "head": load_head(frozen.folder, old)}
    # Up to the bridge: no controls, no metrics; then the rest, in the same folder.
    short = transfer(tiny.windows(), old, new, settings, until="bridge", **given)
    assert short.metrics == [] and not (tmp_path / "run" / "controls").exists()
    whole = transfer(tiny.windows(), old, new, settings, **given)
    assert not (tmp_path / "run" / "teacher").exists()
    teacher = {r["split"]: r["confusion"] for r in whole.metrics if r["method"] == "teacher"}
    assert teacher == {row["split"]: row["confusion"] for row in frozen.metrics}
    test = tiny.windows().indices("test")
    x = tiny.windows().read("ecg", test)
    logits = np.asarray(whole.model(x))
    with np.load(tmp_path / "run" / "report" / "predictions.npz") as found:
        np.testing.assert_array_equal(found["windows_test"], test)
        np.testing.assert_array_equal(found["bridge_test"], logits.argmax(axis=1))
    read = from_pretrained(tmp_path / "run" / "pretrained", old=old, new=new)
    np.testing.assert_array_equal(np.asarray(read(x)), logits)


def test_windows_of_another_task_are_refused_with_a_given_head(frozen, tmp_path):
    windows, (old, new) = tiny.windows(), tiny.encoders()
    other = ArrayWindows(
        {name: windows.read(name, np.arange(len(windows.labels))) for name in windows.modalities},
        windows.labels, windows.splits, ("rest", "task"),
    )
    settings = TransferSettings("eeg", "ecg", position=(1, 1))
    with pytest.raises(InputError, match="knows the classes slow, fast, the windows have rest, task"):
        transfer(other, old, new, settings, out=tmp_path / "run", head=load_head(frozen.folder, old))


@pytest.mark.slow
def test_a_killed_fit_goes_on_where_it_was(tmp_path, monkeypatch):
    settings = dataclasses.replace(_FROZEN, epochs=6, batch_size=8)
    fit = {"out": tmp_path / "run", "checkpoint_every": 3}
    windows, old = tiny.windows(), tiny.encoders()[0]
    whole = fit_task_head(windows, old, "eeg", settings, **fit | {"out": tmp_path / "whole"})
    end = fitting._Run._end_epoch

    def killed(run, preemption):
        end(run, preemption)
        if run.epoch == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting._Run, "_end_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_task_head(windows, old, "eeg", settings, **fit)
    monkeypatch.undo()
    again = fit_task_head(windows, old, "eeg", settings, **fit)
    np.testing.assert_array_equal(_logits(again.teacher), _logits(whole.teacher))
    epochs = [json.loads(line) for line in
              (tmp_path / "run" / "teacher" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="other settings"):
        fit_task_head(windows, old, "eeg", dataclasses.replace(settings, epochs=7), **fit)


def test_a_kill_while_the_context_is_averaged_costs_no_training(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    old = Toy(rngs=nnx.Rngs(0))
    signals = np.random.default_rng(0).standard_normal((24, 4, 3))
    splits = np.resize(["train", "val"], 24)
    windows = ArrayWindows({"eeg": signals}, np.arange(24) // 2 % 2, splits, ("a", "b"))
    settings = HeadSettings(unfrozen=True, epochs=1, batch_size=4)
    out = {"out": tmp_path / "run", "checkpoint_every": 1}
    with monkeypatch.context() as patched:
        patched.setattr(teacher_stage, "mean_context", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_task_head(windows, old, "eeg", settings, **out)
    monkeypatch.setattr(fitting._Run, "_one_epoch", lambda *_: pytest.fail("trained again"))
    found = fit_task_head(windows, old, "eeg", settings, **out)
    gain = 1 + np.abs(signals[splits == "train"]).mean(axis=1)
    kept = found.teacher.head.context["gain"][...]
    np.testing.assert_allclose(kept, gain.mean(axis=0, keepdims=True), rtol=1e-5)
    shutil.rmtree(found.folder)  # a finished run then tells of no head that is not there
    with pytest.raises(InputError, match=f"{found.folder}/model.safetensors is missing; .*--rerun"):
        fit_task_head(windows, old, "eeg", settings, **out)


def test_a_split_that_lacks_a_class_is_refused_before_the_head_is_fitted(tmp_path):
    """Its metrics would be refused after it, and the head not saved."""
    labels, splits = np.arange(24) // 3 % 2, np.resize(["train", "val", "test"], 24)
    labels[splits == "test"] = 0
    windows = ArrayWindows({"eeg": np.ones((24, 4, 3))}, labels, splits, ("slow", "fast"))
    with pytest.raises(InputError, match="Class 'fast' has no window in split 'test'"):
        fit_task_head(windows, Toy(rngs=nnx.Rngs(0)), "eeg", _FROZEN, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_early_stopping_and_given_weights():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((40, 3)).astype(np.float32), np.arange(40) % 2
    settings = HeadSettings(learning_rate=0.1, epochs=200, patience=3)
    _, curve = fit_head((x, labels), (-x, labels), 2, settings, seed=0)
    best = int(np.argmin([e.val_loss for e in curve]))
    assert len(curve) == best + 1 + 3 < 200
    labels = np.array([0, 0, 0, 1])
    by_count = class_weights(labels, 2, balance=True)
    given = class_weights(labels, 2, balance=False, given=(1 / 3, 1 / 1))
    np.testing.assert_allclose(given, by_count, rtol=1e-6)
    for wrong in ((1.0,), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(InputError, match="a positive one for each of the 2 classes"):
            class_weights(labels, 2, balance=True, given=wrong)
