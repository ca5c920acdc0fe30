"""A miniature of every method: it works where it must, reads no labels, and changes nothing shared."""

import copy
import dataclasses
import math

import numpy as np
import pytest
from flax import nnx

from jaxbridge import BridgeSettings, methods, transfer
from jaxbridge.methods import Bridge, Fitted, Optimisation, StudyData
from jaxbridge.report import run_page
from jaxbridge.report.pictures import draw
from jaxbridge.statistics.comparison import against_best
from jaxbridge.statistics.tidy import run_rows, write_table
from jaxbridge.training.sources import Placed
from model_ports.batch_norm import BatchNorm
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study

# Of the others nothing more is promised than a result.
_MUST_WORK = (
    "teacher", "bridge", "KD", "KD, frozen encoder", "KD-Contrast", "LoRA", "signal translation",
    "linear stitching", "Procrustes", "bridge, closed form", "head-only bridge", "oracle",
    "oracle, unfrozen",
)
_UNTRAINED = ("teacher", "random bridge")
_CLOSED_FORM = ("linear stitching", "Procrustes", "CORAL", "bridge, closed form")


class _Study:
    """The shared data, and each method fitted once, when first asked for."""

    def __init__(self, folder):
        self.windows, self.folder = toy_study.windows(), folder / "run"
        self.data: StudyData = toy_study.prepare(self.folder, self.windows)
        self.before = self.shared()
        self.test = self.windows.indices("test")
        self._fitted: dict[str, Fitted] = {}

    def shared(self) -> dict[str, np.ndarray]:
        return toy_study.leaves(self.data.teacher) | {
            f"new.{path}": value for path, value in toy_study.leaves(self.data.new).items()
        }

    def fitted(self, name: str) -> Fitted:
        if name not in self._fitted:
            self._fitted[name] = toy_study.small(name).fit(self.data, 0)
        return self._fitted[name]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> _Study:
    return _Study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", methods.available())
def test_a_method_predicts_and_leaves_what_it_shares_as_it_was(study, name):
    fitted = study.fitted(name)
    logits = fitted.logits(study.data, study.test)
    assert logits.shape == (48, 2) and np.isfinite(logits).all()
    right = np.mean(logits.argmax(axis=1) == study.windows.labels[study.test])
    if name in _MUST_WORK:
        assert right >= 0.9, right
    after = study.shared()
    assert after.keys() == study.before.keys()
    for path, value in study.before.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)
    if fitted.curve:
        assert fitted.curve[-1].train_loss < fitted.curve[0].train_loss


# The teacher fits nothing; the others differ by a position, an order or what is frozen.
_SEEN_ABOVE = ("teacher", "head-only bridge", "bridge, shuffled pairs", "oracle")


@pytest.mark.parametrize("name", [n for n in methods.available() if n not in _SEEN_ABOVE])
@pytest.mark.slow
def test_only_supervised_methods_notice_other_labels(study, name):
    """All labels that a fit could read are permuted; the teacher was fitted before."""
    other = copy.copy(study.windows)
    other.labels = np.random.default_rng(1).permutation(study.windows.labels)
    blind = dataclasses.replace(study.data, windows=other)
    method = toy_study.small(name)
    found, wanted = (
        fitted.logits(study.data, study.test)
        for fitted in (method.fit(blind, 0), study.fitted(name))
    )
    assert np.array_equal(found, wanted) == (not method.reads_labels)


def test_the_bridge_and_its_controls_are_those_of_transfer(study):
    """`transfer` goes on in the folder of the shared data."""
    result = transfer(
        study.windows, *toy_study.encoders(), toy_study.SETTINGS, out=study.folder
    )
    signals = study.windows.read("new", study.test)
    np.testing.assert_allclose(
        result.model(signals), study.fitted("bridge").logits(study.data, study.test), rtol=1e-5,
        atol=1e-5,
    )
    for row in result.metrics:
        if row["split"] == "test" and row["method"] != "chance":
            fitted = study.fitted(row["method"])
            predicted = fitted.logits(study.data, study.test).argmax(axis=1)
            labels = study.windows.labels[study.test]
            assert row["accuracy"] == np.mean(predicted == labels), row["method"]
            assert row["trainable_parameters"] == fitted.trainable_parameters


def test_a_bridge_in_closed_form_is_a_transfer_without_epochs(study, tmp_path):
    bridge = dataclasses.replace(toy_study.SETTINGS.bridge, start="ridge", epochs=0)
    settings = dataclasses.replace(toy_study.SETTINGS, bridge=bridge)
    result = transfer(study.windows, *toy_study.encoders(), settings, out=tmp_path / "run")
    np.testing.assert_allclose(
        result.model(study.windows.read("new", study.test)),
        study.fitted("bridge, closed form").logits(study.data, study.test), rtol=1e-5, atol=1e-5,
    )
    # its control is solved on the shuffled pairs, too
    right = {row["method"]: row["accuracy"] for row in result.metrics if row["split"] == "test"}
    assert right["bridge"] >= 0.9
    assert right["bridge, shuffled pairs"] < 0.75
    names = [path.name for path in draw(tmp_path / "run")]
    assert "confusion.png" in names and "training_curve.png" not in names
    assert "curve-bridge" not in run_page.write(tmp_path / "run").read_text()


def test_training_goes_on_from_the_closed_form(study):
    """After one small step the loss is that of the closed form still, far below a random start's."""
    losses = {}
    for start in ("random", "ridge"):
        settings = dataclasses.replace(
            toy_study.SETTINGS.bridge, start=start, epochs=1, learning_rate=1e-6
        )
        losses[start] = Bridge(settings=settings).fit(study.data, 0).curve[0].val_loss
    assert losses["ridge"] < 0.5 * losses["random"]


@pytest.mark.parametrize(
    "name",
    ["teacher", "bridge", "bridge, closed form", "KD", "LoRA", "linear stitching", "random bridge"],
)
def test_costs_are_stated(study, name):
    cost = study.fitted(name).cost(study.data)
    new = 4 * 8 + 8 + 8 * 8 + 8
    old, head = 3 * 3 + 3, 3 * 2 + 2
    bridge = 3 * 8 + 3 * 4 * 6 + 6 * 3
    wanted = {
        "teacher": (head, 2 * old),
        "bridge": (bridge, new + old + head),
        "bridge, closed form": (bridge, new + old + head),
        "KD": (new + 8 * 2 + 2, 0),
        # Factors of both matrices at rank 2, and the map from 8 to 3 features.
        "LoRA": (2 * (4 + 8) + 2 * (8 + 8) + 8 * 3 + 3, new + head),
        "linear stitching": (8 * 12 + 12, new + old + head),
        "random bridge": (0, bridge + new + old + head),
    }
    assert (cost.trainable_parameters, cost.frozen_parameters) == wanted[name]
    assert cost.inference_flops_per_sample >= (2 * 4 * 3 * 3 * 2 if name == "teacher" else 576)
    assert cost.inference_flops_per_sample < 2000
    assert math.isnan(cost.epoch_s) == (name in (*_UNTRAINED, *_CLOSED_FORM))
    if name == "random bridge":
        assert cost.train_flops_per_sample == cost.peak_memory_bytes == cost.train_samples == 0
        return
    assert cost.wall_s > 0
    # A step holds the trained values and two moments of Adam.
    held = 1 if name in _CLOSED_FORM else 3
    assert cost.peak_memory_bytes >= 4 * held * cost.trainable_parameters
    if name == "bridge, closed form":  # one layer of the old encoder, over pairs twice and val once
        assert 4 * 3 * 3 * 2 <= cost.train_flops_per_sample < 250
        assert cost.train_samples == 3 * 48
        return
    assert cost.train_flops_per_sample > 2 * cost.trainable_parameters


def test_results_go_into_the_table_and_the_comparison(study, tmp_path):
    assert methods.baselines() == (
        "KD", "KD, frozen encoder", "KD-Contrast", "LoRA", "signal translation", "linear stitching",
        "Procrustes", "CORAL",
    )
    names, results, rows = ("bridge", "linear stitching", "CORAL"), {}, []
    for name in names:
        fitted = study.fitted(name)
        said = methods.predictions(fitted, study.data, "test", seed=0, people="sim/")
        about = {"study": "toy", "dataset": "toy", "method": name, "split": "test"}
        rows += run_rows(about, said, fitted.cost(study.data))
        results[name] = [said]
    assert set(results["bridge"][0].subjects) == {f"sim/S{i}" for i in range(12, 16)}
    write_table(tmp_path / "t.csv", rows)
    found = {c.method: c for c in against_best(results, names[1:], resamples=200)}
    assert found["bridge"].baseline == "linear stitching" and found["CORAL"].high < 0
    study.windows.subjects, kept = None, study.windows.subjects
    with pytest.raises(InputError, match="whose they are"):
        methods.predictions(study.fitted("bridge"), study.data, "test", seed=0)
    study.windows.subjects = kept


def test_flops_are_of_the_matrices(study):
    """Chain: 3 tokens through 4 x 8 and 8 x 8, and a head of 8 x 2; the rest are sums and tanh."""
    fitted = study.fitted("KD")
    matrices = 2 * 3 * (4 * 8 + 8 * 8) + 2 * 8 * 2
    found = fitted.cost(study.data)
    assert matrices <= found.inference_flops_per_sample <= 1.25 * matrices
    # Backward: the same again for the weights, and again for all activations but the first layer's.
    step = 3 * matrices - 2 * 3 * 4 * 8
    parameters = 4 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2
    update = found.train_flops_per_sample - step
    # Each of eight devices updates all parameters for its two windows: Adam, and checks of gradients.
    assert 10 * parameters / 2 <= update <= 60 * parameters / 2


def test_a_random_bridge_is_not_constant_and_a_seed_decides(study):
    logits = study.fitted("random bridge").logits(study.data, study.test)
    assert logits.std(axis=0).min() > 1e-3
    again, other = (
        methods.method("random bridge").fit(study.data, seed).logits(study.data, study.test)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(again, logits)
    assert not np.array_equal(other, logits)


def test_a_killed_fit_goes_on_to_the_same_bits(study, tmp_path, monkeypatch):
    settings = dataclasses.replace(study.data.settings, checkpoint_every=3)
    data, calls = dataclasses.replace(study.data, settings=settings), []
    train = Placed.train

    def killed(self, *args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return train(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Placed, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            toy_study.small("KD").fit(data, 0, folder=tmp_path)
    assert (tmp_path / "training").exists()
    fitted = toy_study.small("KD").fit(data, 0, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(
        fitted.logits(data, study.test), study.fitted("KD").logits(data, study.test)
    )
    assert fitted.curve == study.fitted("KD").curve


class _Normed(toy_study.Chain):
    """Its layers' outputs are normalised over the batch."""

    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(rngs=rngs)
        self.norms = nnx.List([BatchNorm(8), BatchNorm(8)])

    def layer(self, i, tokens, context):
        return self.norms[i](super().layer(i, tokens, context))


def test_batch_norms_follow_the_batches_where_an_encoder_is_trained_and_nowhere_else(study):
    data = dataclasses.replace(study.data, new=_Normed(rngs=nnx.Rngs(0)))
    before = toy_study.leaves(data.new)
    moved = {}
    for name in ("KD", "LoRA"):
        method = toy_study.small(name)
        method = dataclasses.replace(
            method, optimisation=dataclasses.replace(method.optimisation, epochs=1)
        )
        after = toy_study.leaves(method.fit(data, 0).model.encoder)
        moved[name] = {path for path in before if not np.array_equal(before[path], after[path])}
    kernels = {f"linears.{i}.kernel" for i in (0, 1)}
    assert moved == {"KD": set(before), "LoRA": kernels}


def test_fewer_pairs_than_a_batch_and_another_position(study):
    few = study.data.with_pairs(study.data.pair[:5])
    fitted = Bridge("few", position=(0, 2)).fit(few, 0)
    assert fitted.details["position"] == [0, 2]
    assert fitted.train_samples == 5 * study.data.settings.bridge.epochs
    assert fitted.model.bridge.tokens == 1
    stitched = dataclasses.replace(methods.method("linear stitching"), position=(0, 0)).fit(few, 0)
    assert stitched.model.bridge.kernel.shape == (8, 12)


def test_a_contrast_keeps_its_last_epoch_though_telling_windows_apart_was_best_before(study):
    """InfoNCE on other windows is lowest early, while the classes still come apart."""
    last = study.fitted("KD-Contrast")
    losses = [epoch.val_loss for epoch in last.curve]
    assert np.argmin(losses) < len(losses) - 1
    method = toy_study.small("KD-Contrast")
    best = dataclasses.replace(
        method, optimisation=dataclasses.replace(method.optimisation, keep="best")
    ).fit(study.data, 0)
    assert best.curve == last.curve
    logits = [fitted.logits(study.data, study.test) for fitted in (last, best)]
    assert not np.array_equal(*logits)


@pytest.mark.parametrize("name", ["KD-Contrast", "LoRA"])
def test_a_contrast_of_one_window_is_refused(study, name):
    """It tells the windows of a batch apart: of one, the loss is 0 and nothing would be learnt."""
    method = toy_study.small(name)
    if name == "LoRA":
        method = dataclasses.replace(method, loss="info_nce")
    with pytest.raises(InputError, match=f"{name}: .*at least 2 windows a step.*1 of 1 pairs"):
        method.fit(study.data.with_pairs(study.data.pair[:1]), 0)
    one = dataclasses.replace(method.optimisation, batch_size=1)
    with pytest.raises(InputError, match="1 of 48 pairs"):
        dataclasses.replace(method, optimisation=one).fit(study.data, 0)


def test_refusals(study):
    for name in ("epochs", "batch_size"):
        with pytest.raises(InputError, match=f"{name} is 0; it must be at least 1"):
            Optimisation(**{name: 0})
    with pytest.raises(InputError, match="loss is 'huber'; use info_nce, cosine, l1, mse"):
        dataclasses.replace(methods.method("LoRA"), loss="huber")
    with pytest.raises(InputError, match="temperature is 0"):
        dataclasses.replace(methods.method("LoRA"), temperature=0)
    with pytest.raises(InputError, match="no method 'kd'"):
        methods.method("kd")
    with pytest.raises(InputError, match="pooled by mean, the bridge takes max"):
        Bridge(settings=BridgeSettings(pool="max", epochs=1)).fit(study.data, 0)
    with pytest.raises(InputError, match="no matrix of chain exceeds rank 8"):
        methods.method("LoRA").fit(study.data, 0)
    small = dataclasses.replace(study.data.cache, host_gb=1e-9)
    with pytest.raises(InputError, match="stitch to the head, position \\(1, 2\\)"):
        methods.method("linear stitching").fit(dataclasses.replace(study.data, cache=small), 0)
