"""The epoch loop watches the loss and refuses sizes that do not fit."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbridge.training import engine
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import fit
from jaxbridge.training.sources import Streamed
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
        monkeypatch.setattr(engine.Trainer, "loss", lambda *_: next(told))
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
