"""Unpaired windows move the bridge by their distribution alone, on any number of devices."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxbridge.methods import Bridge, UnpairedBridge
from jaxbridge.training.engine import AXIS, VALID
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study

SETTINGS = dataclasses.replace(toy_study.SETTINGS.bridge, epochs=40)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_study.prepare(tmp_path_factory.mktemp("study"), toy_study.windows())


def _few(data):
    return data.with_pairs(data.pair[::12])


def _distance(made, real, valid, devices=1) -> float:
    """Of batches split over devices, as the loss computes it."""
    def split(x):
        return x.reshape(devices, -1, *x.shape[1:])

    batch = {"embedding": real[:, None], VALID: valid, "row": np.arange(len(made), dtype=np.int32)}
    method = UnpairedBridge(directions=16)
    found = jax.pmap(
        lambda m, b: method._distance(m, b, 3), axis_name=AXIS, devices=jax.devices()[:devices]
    )(split(made), jax.tree.map(split, batch))
    return np.asarray(found)


def test_the_distance_is_between_sorted_projections_of_valid_rows():
    rng = np.random.default_rng(0)
    made, real = rng.standard_normal((2, 8, 5)).astype(np.float32)
    valid = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    axes = jax.random.normal(jax.random.fold_in(jax.random.key(3), 15), (5, 16))
    axes = np.asarray(axes / np.linalg.norm(axes, axis=0))
    wanted = np.mean((np.sort(made[:6] @ axes, axis=0) - np.sort(real[:6] @ axes, axis=0)) ** 2)
    for devices in (1, 2, 8):
        np.testing.assert_allclose(_distance(made, real, valid, devices), wanted, rtol=1e-5)
    order = rng.permutation(6)
    moved = np.concatenate([made[:6][order], made[6:]])
    np.testing.assert_allclose(_distance(moved, real, valid), wanted, rtol=1e-5)
    np.testing.assert_allclose(_distance(real[::-1].copy(), real, np.ones(8, np.float32)), 0, atol=1e-6)


def test_without_unpaired_windows_it_is_the_plain_bridge(data):
    assert not len(data.unpaired)
    plain, same = (kind(settings=SETTINGS).fit(data, 2) for kind in (Bridge, UnpairedBridge))
    for name, value in toy_study.leaves(plain.model.bridge).items():
        np.testing.assert_array_equal(toy_study.leaves(same.model.bridge)[name], value)


def test_it_takes_as_many_steps_and_brings_distributions_together(data):
    few, settings = _few(data), dataclasses.replace(SETTINGS, epochs=200)
    assert len(few.pair) == 4 and len(few.unpaired) == 44
    plain = Bridge(settings=settings).fit(few, 2)
    found = UnpairedBridge(settings=settings, weight=10.0).fit(few, 2)
    assert len(found.curve) == round(200 * 4 / 44)
    real = few.embeddings(few.unpaired)

    def apart(fitted) -> float:
        made = jax.jit(lambda m, x: m.suffix.last_layer(m.pooled(x)).mean(axis=1))(
            fitted.model, few.windows.read("new", few.unpaired)
        )
        made, other = (x[:40] / real.std(axis=0) for x in (np.asarray(made), real))
        return float(_distance(made, other, np.ones(40, np.float32))[0])

    assert apart(found) < 0.8 * apart(plain)
    for name, value in toy_study.leaves(data.teacher.encoder).items():
        np.testing.assert_array_equal(toy_study.leaves(found.model.old)[name], value)


def test_refusals(data):
    with pytest.raises(InputError, match="weight"):
        UnpairedBridge(weight=-1)
    clipped = dataclasses.replace(SETTINGS, clip_norm=1.0)
    with pytest.raises(InputError, match="plain bridge alone"):
        UnpairedBridge(settings=clipped).fit(_few(data), 0)
