"""The epoch loop watches the loss and refuses sizes that do not fit."""

import signal

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbridge.training import engine, fitting, parts
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import fit
from jaxbridge.training.preemption import Preempted
from jaxbridge.training.sources import Placed, Streamed
from model_ports.errors import InputError


def _trainer(learning_rate: float = 0.1) -> engine.Trainer:
    module = nnx.Linear(2, 1, rngs=nnx.Rngs(0))

    def loss(module, batch):
        error = (module(batch["x"])[:, 0] - batch["y"]) ** 2
        return error, 0 * error + 1

    labels = engine.labels(module, lambda path: True)
    return engine.Trainer(module, loss, labels, optax.sgd(learning_rate))


def _data(seed: int, count: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32)
    return {"x": x, "y": x @ np.array([1.0, -2.0], np.float32) + 3}


_ARGUMENTS = {"epochs": 30, "batch_size": 5, "seed": 0, "keep_best": False, "what": "fitting"}


def test_the_curve_is_that_of_gradient_descent():
    trainer = _trainer()
    curve = fit(trainer, _data(0, 23), _data(1, 9), **_ARGUMENTS)
    assert [e.epoch for e in curve] == list(range(1, 31))
    assert curve[-1].val_loss == pytest.approx(trainer.loss(_data(1, 9), 4), rel=1e-5)
    assert curve[-1].val_loss < 1e-6
    kernel = np.asarray(trainer.module().kernel[...])[:, 0]
    np.testing.assert_allclose(kernel, [1, -2], atol=1e-3)


def test_a_loss_that_is_not_finite_names_epoch_and_step():
    data = _data(0, 20)
    data["y"][3] = np.nan
    with pytest.raises(InputError, match=r"fitting: the loss is nan in epoch 1, step \d"):
        fit(_trainer(), data, _data(1, 5), **_ARGUMENTS)
    with pytest.raises(InputError, match="lower the learning rate"):
        fit(_trainer(1e30), _data(0, 20), _data(1, 5), **_ARGUMENTS)


def test_a_gradient_that_is_not_finite_in_the_first_step_is_no_fault_of_the_rate():
    data = {"x": np.zeros((5, 2), np.float32), "y": np.zeros(5, np.float32)}
    module = nnx.Linear(2, 1, use_bias=False, rngs=nnx.Rngs(0))

    def root(module, batch):
        error = jnp.sqrt(jnp.square(module(batch["x"])[:, 0] - batch["y"]))  # of zero
        return error, 0 * error + 1

    trainer = engine.Trainer(module, root, engine.labels(module, lambda path: True), optax.sgd(0.1))
    with pytest.raises(InputError) as error:
        fit(trainer, data, data, **_ARGUMENTS)
    assert "the gradient is not finite (the loss is 0.0) in epoch 1, step 1" in str(error.value)
    assert "weights" in str(error.value) and "rate" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 0}, "epochs is 0"),
    ({"batch_size": 0}, "batch size 0 does not fit 20"),
    ({"batch_size": 21}, "batch size 21 does not fit 20"),
])
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        fit(_trainer(), _data(0, 20), _data(1, 5), **{**_ARGUMENTS, **change})


def test_unpaired_arrays_are_refused():
    data = _data(0, 20)
    data["y"] = data["y"][:-1]
    with pytest.raises(InputError, match=r"have \[19, 20\] windows; pair them up"):
        fit(_trainer(), data, _data(1, 5), **_ARGUMENTS)


def test_a_bad_batch_is_named_and_the_state_before_it_kept():
    data = _data(0, 20)
    data["y"][3] = np.nan
    trainer = _trainer()
    with pytest.raises(InputError) as error:
        fit(trainer, data, _data(1, 5), **_ARGUMENTS)
    order = engine.epoch_order(20, 0, seed=0)
    batch = int(np.flatnonzero(order == 3)[0]) // 5
    windows = order[5 * batch : 5 * batch + 5]
    assert f"training windows {windows.tolist()}" in str(error.value)
    expected = _trainer()
    if batch:
        expected.train(data, order[: 5 * batch], 5)
    for path, value in expected.host_params().items():
        np.testing.assert_allclose(trainer.host_params()[path], value, rtol=1e-6)


def test_a_validation_loss_of_nan_is_no_lowest_one(monkeypatch):
    def run(losses, **change):
        told = iter(losses)
        monkeypatch.setattr(engine.Trainer, "loss_sums", lambda *_: (next(told), 1.0))
        trainer, states = _trainer(), []
        curve = fit(
            trainer, _data(0, 20), _data(1, 5), **{**_ARGUMENTS, "keep_best": True, **change},
            on_epoch=lambda _: states.append(trainer.host_params()["kernel"]),
        )
        return len(curve), [bool(np.array_equal(trainer.host_params()["kernel"], s)) for s in states]

    nan = float("nan")
    assert run([nan, 2.0, 1.0, nan], epochs=4) == (4, [False, False, True, False])
    assert run([3.0, nan, 2.0, 2.5, 2.5, 0.0], epochs=6, patience=2)[0] == 5
    with pytest.raises(InputError, match="validation loss was finite after no epoch"):
        run([nan, nan], epochs=2)


def test_streamed_rows_give_what_placed_arrays_give():
    placed, streamed, data = _trainer(), _trainer(), _data(0, 23)
    one = fit(placed, data, _data(1, 9), **_ARGUMENTS)
    source = Streamed(lambda i: {k: v[i] for k, v in data.items()}, 23, 12, chunk_bytes=130)
    other = fit(streamed, source, _data(1, 9), **_ARGUMENTS)
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-7)


def test_a_long_run_of_steps_is_divided_evenly_by_their_operations(monkeypatch):
    monkeypatch.setattr(parts, "_OPERATIONS", {})
    monkeypatch.setattr(parts, "_ON_ACCELERATORS", 1e12)
    assert parts.part_steps(500, lambda: 0.0) == 500
    assert parts.part_steps(500, lambda: 2e9) == 500
    assert parts.part_steps(500, lambda: 2.5e9) == 250  # 400 fit
    assert parts.part_steps(500, lambda: 6e9) == 125  # 166 fit: four parts
    assert parts.part_steps(500, lambda: 1e15) == 1
    assert parts.part_steps(4, None) == 4  # nothing to count


def test_operations_of_a_step_are_those_of_its_products():
    module = nnx.Linear(300, 200, use_bias=False, rngs=nnx.Rngs(0))

    def loss(module, batch):
        return module(batch["x"]).sum(axis=1), batch["valid"]

    trainer = engine.Trainer(module, loss, engine.labels(module, lambda path: True), optax.sgd(0.1))
    data = {"x": np.ones((240, 300), np.float32)}
    placed = Placed(trainer, data)
    streamed = Streamed(lambda rows: {"x": data["x"][rows]}, 240, 1200)
    each = 160 // len(trainer.devices)
    products = 2 * 2 * each * 300 * 200  # forward, and the weights' gradient
    for source in (placed, streamed):
        found = source.step_operations(trainer, 160)
        assert products < found < 1.3 * products


@pytest.mark.parametrize("streamed", [False, True])
def test_a_divided_epoch_ends_where_a_whole_one_does(monkeypatch, streamed):
    data, sizes = _data(0, 60), []

    def run():
        trainer, told = _trainer(), []
        take = trainer._take
        monkeypatch.setattr(trainer, "_take", lambda *a: told.append(a[3].shape[1]) or take(*a))
        train = Streamed(lambda i: {k: v[i] for k, v in data.items()}, 60, 12) if streamed else data
        curve = fit(trainer, train, _data(1, 53), **_ARGUMENTS | {"epochs": 3})
        sizes.append(told)
        return curve

    whole = run()
    monkeypatch.setattr(fitting, "part_steps", lambda most, count: 5)
    np.testing.assert_allclose(run(), whole, rtol=1e-5)
    assert sizes == [3 * [12], 3 * [5, 5, 2]]


def test_a_signal_is_heeded_between_the_parts_of_an_epoch(monkeypatch, tmp_path):
    """It comes in the second of three parts, or in the validation: either state is saved."""
    monkeypatch.setattr(fitting, "part_steps", lambda most, count: 5)
    arguments = _ARGUMENTS | {"epochs": 3}

    def run(folder, signal_at=None):
        trainer, calls = _trainer(), []
        kept = TrainingCheckpoints(tmp_path / folder, {}, every=1000)

        def counted(name):
            call = getattr(trainer, name)

            def counting(*args):
                calls.append(name)
                if len(calls) == signal_at:
                    signal.raise_signal(signal.SIGTERM)
                return call(*args)

            monkeypatch.setattr(trainer, name, counting)

        counted("_take")
        counted("loss_sums")
        try:
            return fit(trainer, _data(0, 60), _data(1, 53), **arguments, checkpoints=kept), calls
        except Preempted as stopped:
            return stopped.message, calls
        finally:
            kept.close()

    whole, calls = run("whole")
    assert calls[:6] == 3 * ["_take"] + 3 * ["loss_sums"]  # 12 and 11 steps
    for at, step, left in ((2, 10, 16), (3, 12, 15), (5, 12, 15)):
        message, calls = run(f"signal {at}", at)
        assert f"stopped after step {step} and saved" in message and len(calls) == at
        again, calls = run(f"signal {at}")
        assert again == whole and len(calls) == left


def test_training_that_is_stopped_before_a_checkpoint_starts_again(tmp_path):
    """What a checkpoint holds decides: an interrupted epoch is done again, to the same end."""
    whole = _trainer()
    fit(whole, _data(0, 20), _data(1, 5), **_ARGUMENTS)
    kept = TrainingCheckpoints(tmp_path / "c", {}, every=12)
    broken = _trainer()

    def stop(epoch):
        if epoch.epoch == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(broken, _data(0, 20), _data(1, 5), **_ARGUMENTS, checkpoints=kept, on_epoch=stop)
    kept.close()
    kept = TrainingCheckpoints(tmp_path / "c", {}, every=12)
    again, epochs = _trainer(), []
    curve = fit(
        again, _data(0, 20), _data(1, 5), **_ARGUMENTS, checkpoints=kept,
        on_epoch=lambda e: epochs.append(e.epoch),
    )
    kept.close()
    assert epochs[0] == 7 and len(curve) == 30  # 4 steps an epoch: saved after steps 12 and 24
    for path, value in whole.host_params().items():
        assert again.host_params()[path].tobytes() == value.tobytes()
