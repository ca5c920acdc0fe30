"""Several sets, one head each: the loss, the mixing, and what moves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings, strategies

import model_ports as mp
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.pretraining import MultiTask, PretrainSettings, TaskSet, pretrain
from jaxbridge.pretraining.fitting import multi_task_trainer
from jaxbridge.pretraining.mixing import MixedSets
from jaxbridge.pretraining.multi_task import uncertainty_loss
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.optimizers import OptimizerSettings
from model_ports.parameters import weights_hash
from model_ports.representations import drawn_signals
from tests.jaxbridge.toy import Toy
from tests.jaxbridge.toy_pictures import ToyPictures

_SETTINGS = PretrainSettings(
    windows_per_set=4, epochs=4, optimizer=OptimizerSettings(learning_rate=1e-2)
)


def small(seed: int = 0) -> mp.Encoder:
    return mp.create("papagei", rngs=nnx.Rngs(seed), depth=1, features=4, embedding_features=4)


def task_set(name: str, windows: int, classes: int, shape=(1, 40)) -> TaskSet:
    """Classes differ in amplitude; train, val and test in turn."""
    rng = np.random.default_rng(windows)
    labels = np.arange(windows) // 3 % classes
    signals = rng.standard_normal((windows, *shape)) * (1 + labels[:, None, None])
    splits = np.resize(["train", "val", "test"], windows)
    names = [f"{name} {number}" for number in range(classes)]
    return TaskSet(name, ArrayWindows({"signal": signals}, labels, splits, names), "signal")


def sets(shape=(1, 40)) -> list[TaskSet]:
    return [task_set("two", 24, 2, shape), task_set("three", 54, 3, shape)]


def test_the_loss_is_the_sum_over_tasks_of_the_weighted_entropies():
    model = MultiTask(small(), 4, (2, 3), rngs=nnx.Rngs(0))
    model.log_variances.set_value(jnp.array([0.7, -0.4]))
    train = MixedSets(sets(), "train", balance=True)
    batch = train.read_mixed(train.order(36, 0, 0)[:12])
    values, weights = uncertainty_loss(model, jax.tree.map(jnp.asarray, batch))
    expected, logits = 0.0, model(batch["input"])
    for number, s in enumerate([0.7, -0.4]):
        mine = batch["task"] == number
        assert mine.sum() == 6
        entropy = optax.softmax_cross_entropy_with_integer_labels(
            logits[number][mine], batch["label"][mine]
        )
        expected += np.exp(-s) * np.mean(batch["class_weight"][mine] * entropy) + s
    np.testing.assert_allclose(np.mean(values) * 2, expected, rtol=1e-5)
    np.testing.assert_array_equal(weights, 1)


@settings(max_examples=30, deadline=None)
@given(
    sizes=strategies.lists(strategies.integers(6, 30), min_size=1, max_size=4),
    epoch=strategies.integers(0, 5), seed=strategies.integers(0, 5),
)
def test_every_batch_has_equally_many_of_each_set_and_every_window_comes(sizes, epoch, seed):
    given = [task_set(str(i), 3 * size, 2) for i, size in enumerate(sizes)]
    train = MixedSets(given, "train", balance=False)
    source = train.mixed()
    order = train.order(source.size, epoch, seed)
    np.testing.assert_array_equal(order, train.order(source.size, epoch, seed))
    rows = train.read_mixed(order)
    for column in rows["task"].reshape(-1, len(sizes)).T:
        assert len(set(column)) == 1
    counts = np.bincount(order, minlength=sum(sizes))
    for number in range(len(sizes)):
        mine = np.split(counts, np.cumsum(sizes)[:-1])[number]
        assert mine.min() >= 1 and mine.max() - mine.min() <= 1 and mine.sum() == max(sizes)
        windows, at = given[number].windows, np.flatnonzero(rows["task"] == number)
        chosen = windows.indices("train")[order[at] - sum(sizes[:number])]
        np.testing.assert_array_equal(rows["input"][at], windows.read("signal", chosen))
        np.testing.assert_array_equal(rows["label"][at], windows.labels[chosen])
    assert not np.array_equal(order, train.order(source.size, epoch + 1, seed))


def test_validation_reads_every_window_once_and_all_sets_count_the_same():
    val = MixedSets(sets(), "val", balance=True)
    rows = val.read_once(np.arange(val.once().size))
    assert len(rows["input"]) == 8 + 18
    sums = np.bincount(rows["task"], weights=rows["set_weight"])
    np.testing.assert_allclose(sums, 13, rtol=1e-6)


@pytest.mark.slow
def test_a_broken_off_run_ends_with_the_same_bits(tmp_path):
    encoder = small()
    before = weights_hash(encoder)
    whole, curve = pretrain(encoder, sets(), _SETTINGS, seed=1)
    assert weights_hash(encoder) == before
    assert [head.num_classes for head in whole.heads] == [2, 3]
    assert np.abs(whole.log_variances[...]).min() > 0
    assert np.abs(whole.encoder.stem.kernel[...] - encoder.stem.kernel[...]).max() > 1e-3
    assert curve[-1].train_loss < curve[0].train_loss

    def checkpoints() -> TrainingCheckpoints:
        return TrainingCheckpoints(tmp_path, {"what": "test"}, every=2)

    def broken(report):
        if report.epoch == 3:
            raise KeyboardInterrupt

    first = checkpoints()
    with pytest.raises(KeyboardInterrupt):
        pretrain(small(), sets(), _SETTINGS, seed=1, checkpoints=first, on_epoch=broken)
    first.close()
    epochs, second = [], checkpoints()
    model, again = pretrain(
        small(), sets(), _SETTINGS, seed=1, checkpoints=second, on_epoch=epochs.append
    )
    second.close()
    assert [epoch.epoch for epoch in epochs] == [3, 4]
    assert again == curve
    assert weights_hash(model) == weights_hash(whole)


def test_frozen_parts_keep_every_bit():
    encoder = small()
    settings = dataclasses.replace(_SETTINGS, frozen=("stem", "stem_norm"), epochs=1)
    model, _ = pretrain(encoder, sets(), settings, seed=0)
    before, after = (
        {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in
         nnx.to_flat_state(nnx.state(module))} for module in (encoder, model.encoder)
    )
    frozen = {path for path in before if path.startswith(("stem.", "stem_norm."))}
    moved = {path for path in before if before[path].tobytes() != after[path].tobytes()}
    assert any(path.endswith("norm.mean") for path in frozen)
    assert not frozen & moved
    assert any(path.startswith("blocks.0.") and path.endswith("mean") for path in moved)
    with pytest.raises(mp.InputError, match="no part 'blocks.7' to freeze; it has .*blocks"):
        pretrain(encoder, sets(), dataclasses.replace(settings, frozen=("blocks.7",)), seed=0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"hidden": -1}, {"windows_per_set": 0}])
def test_settings_that_are_none_are_refused_when_they_are_made(wrong):
    (name, value), = wrong.items()
    with pytest.raises(mp.InputError, match=f"{name} is {value}; it must be at least"):
        PretrainSettings(**wrong)


def test_eight_devices_equal_one():
    train = MixedSets(sets((4, 3)), "train", balance=True)
    order, found = train.order(36, 0, 0), []
    model = MultiTask(Toy(rngs=nnx.Rngs(0)), 3, (2, 3), rngs=nnx.Rngs(0))
    for devices in (jax.devices()[:1], jax.devices()):
        trainer = multi_task_trainer(model, _SETTINGS, steps=100, devices=devices)
        losses = [train.mixed().train(trainer, order, 8) for _ in range(4)]
        found.append((np.concatenate(losses), trainer.host_params()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for path, one in found[0][1].items():
        np.testing.assert_allclose(one, found[1][1][path], rtol=1e-5, atol=1e-5, err_msg=path)


def test_an_encoder_of_pictures_learns_from_signals():
    def rhythm(windows: int, name: str, cycles: list[int]) -> TaskSet:
        rng = np.random.default_rng(windows)
        labels = np.arange(windows) // 2 % len(cycles)
        phase = rng.uniform(0, 2 * np.pi, (windows, 1))
        at = 2 * np.pi * np.arange(64) / 64
        signals = np.sin(np.array(cycles)[labels][:, None] * at + phase)
        splits = np.resize(["train", "val"], windows)
        return TaskSet(name, ArrayWindows({"x": signals}, labels, splits, list(map(str, cycles))), "x")

    encoder = drawn_signals(ToyPictures(rngs=nnx.Rngs(0)), "waveform")
    model, curve = pretrain(
        encoder, [rhythm(48, "a", [2, 7]), rhythm(60, "b", [2, 4, 7])],
        dataclasses.replace(_SETTINGS, windows_per_set=8, epochs=15), seed=0,
    )
    assert np.abs(model.encoder.encoder.patch.kernel[...] - encoder.encoder.patch.kernel[...]).max() > 0
    assert curve[-1].val_loss < 0.85 * curve[0].val_loss


@pytest.mark.parametrize(("given", "message"), [
    ([], "give one or more"),
    ([task_set("a", 12, 2), task_set("a", 12, 2)], "a, a"),
    ([task_set("a", 12, 2), task_set("b", 12, 2, shape=(1, 30))], r"a \(1, 40\), b \(1, 30\)"),
    ([dataclasses.replace(task_set("a", 12, 2), modality="ppg")], "no modality 'ppg'; it has signal"),
    ([task_set("a", 1, 2)], "no windows in split 'val'"),
    ([task_set("a", 6, 3)], "set a: class 2 has no training window"),
])
def test_sets_that_do_not_fit_are_refused(given, message):
    with pytest.raises(mp.InputError, match=message):
        pretrain(small(), given, _SETTINGS, seed=0)
