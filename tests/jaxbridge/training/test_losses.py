"""Each loss against its formula in NumPy, and InfoNCE over any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbridge.training import losses
from model_ports.errors import InputError

_RNG = np.random.default_rng(0)
_X, _Y = _RNG.standard_normal((2, 6, 3, 5)).astype(np.float32)


def _cos(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_each_loss_is_its_formula():
    flat = list(zip(_X.reshape(6, -1), _Y.reshape(6, -1), strict=True))
    want = {
        "cosine": [1 - _cos(a, b) for a, b in flat],
        "token_cosine": [
            np.mean([1 - _cos(a, b) for a, b in zip(x, y, strict=True)])
            for x, y in zip(_X, _Y, strict=True)
        ],
        "l1": [np.abs(a - b).mean() for a, b in flat],
        "mse": [((a - b) ** 2).mean() for a, b in flat],
    }
    assert set(want) == set(losses.PAIRWISE)
    for name, values in want.items():
        np.testing.assert_allclose(losses.PAIRWISE[name](_X, _Y), values, rtol=1e-5, err_msg=name)


def _info_nce(x, y, temperature=0.2):
    similar = np.array([[_cos(a, b) for b in y] for a in x]) / temperature
    return np.log(np.exp(similar).sum(axis=1)) - np.diagonal(similar)


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_info_nce_takes_negatives_from_all_devices(devices):
    want = _info_nce(_X.reshape(6, -1), _Y.reshape(6, -1))
    loss = jax.pmap(
        functools.partial(losses.info_nce, temperature=0.2, axis_name="b"), axis_name="b",
        devices=jax.devices()[:devices],
    )
    x, y = (a.reshape(devices, 6 // devices, 3, 5) for a in (_X, _Y))
    found = loss(x, y, np.ones(x.shape[:2], np.float32))
    np.testing.assert_allclose(np.ravel(found), want, rtol=1e-4)


def test_padding_is_nobodys_negative_and_has_no_gradient():
    valid = jnp.array([1.0, 1, 1, 1, 0, 0])

    def mean(x):
        values = losses.info_nce(x, _Y, valid, temperature=0.2)
        return jnp.sum(jnp.where(valid > 0, values * valid, 0)) / 4

    want = _info_nce(_X[:4].reshape(4, -1), _Y[:4].reshape(4, -1)).mean()
    value, gradient = jax.value_and_grad(mean)(_X)
    assert float(value) == pytest.approx(want, rel=1e-4)
    assert np.isfinite(gradient).all() and not np.any(gradient[4:])


@pytest.mark.parametrize("name", [*losses.PAIRWISE, "info_nce", "soft_cross_entropy"])
def test_gradients_equal_finite_differences(name):
    loss = {
        **losses.PAIRWISE,
        "info_nce": lambda x, y: losses.info_nce(x, y, jnp.ones(6), temperature=0.5),
        "soft_cross_entropy": lambda x, y: losses.soft_cross_entropy(x[:, 0], y[:, 0]),
    }[name]
    with jax.enable_x64(True):
        def total(x):
            return jnp.sum(loss(x, _Y) * jnp.arange(6.0))

        direction, step = _RNG.standard_normal(_X.shape).astype(np.float32), 3e-2
        slope = float(jnp.vdot(jax.grad(total)(_X), direction))
        ends = [float(total(_X + sign * step * direction)) for sign in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-2, abs=2e-3)


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="there are cosine, token_cosine, l1, mse, info_nce"):
        losses.check_name("huber")
