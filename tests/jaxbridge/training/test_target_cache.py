"""Targets are the old encoder's tokens wherever they are kept; real prototypes are drawn evenly."""

import errno
import os

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbridge.training import engine
from jaxbridge.training.fitting import fit
from jaxbridge.training.target_cache import CacheSettings, TargetKind, Targets, real_tokens
from model_ports.errors import InputError
from tests.jaxbridge.toy import Toy

_SIGNALS = np.random.default_rng(0).standard_normal((40, 4, 3)).astype(np.float32)
_INDICES = np.array([3, 5, 8, 9, 20, 21, 22, 30, 31, 32, 33])


@pytest.fixture(scope="module")
def encoder() -> Toy:
    return Toy(rngs=nnx.Rngs(0))


def _targets(encoder, place="auto", read=None, **kwargs) -> Targets:
    settings = CacheSettings(place=place, **kwargs.pop("settings", {}))
    return Targets(
        encoder, read or (lambda i: _SIGNALS[i]), _INDICES, TargetKind(2), settings,
        batch_size=4, **kwargs,
    )


@pytest.mark.parametrize("place", ["device", "host", "disk", "recompute"])
def test_rows_are_the_encoders_own(encoder, place, tmp_path):
    rows = np.array([10, 0, 0, 7])
    found = _targets(encoder, place, folder=tmp_path).rows(rows)
    want = np.asarray(encoder(_SIGNALS[_INDICES[rows]]))
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-7)


def test_pooled_targets_and_inputs_of_a_layer(encoder):
    settings, read = CacheSettings(), lambda i: _SIGNALS[i]
    inner = Targets(encoder, read, _INDICES, TargetKind(1), settings).rows(np.array([2]))
    signal = _SIGNALS[_INDICES[2:3]]
    want = encoder.run(signal, 0, 1, encoder.context(signal))
    np.testing.assert_allclose(inner, want, rtol=1e-6)
    pooled = Targets(encoder, read, _INDICES, TargetKind(2, pooled=True), settings)
    assert pooled.shape == (1, 3)
    np.testing.assert_allclose(
        pooled.rows(np.array([2]))[:, 0], encoder(signal).mean(axis=1), rtol=1e-5
    )


def test_the_first_budget_that_holds_them():
    small = {"device_gb": 1e-9, "host_gb": 1e-6}
    assert CacheSettings(**small).choose(1) == "device"
    assert CacheSettings(**small).choose(2) == "host"
    assert CacheSettings(**small).choose(1001) == "disk"
    assert CacheSettings(place="recompute").choose(1) == "recompute"


def test_the_choice_is_explained_in_one_line(encoder, caplog, tmp_path):
    with caplog.at_level("INFO", "jaxbridge"):
        _targets(encoder, settings={"device_gb": 0, "host_gb": 0}, folder=tmp_path)
        _targets(encoder, "recompute")
    lines = [r.getMessage() for r in caplog.records]
    assert lines == [
        "targets: 11 windows of 0.0 kB float32, 0.00 GB: kept on disk (budgets: device 0 GB, "
        "host 0 GB)",
        "targets: 11 windows of 0.0 kB float32, 0.00 GB: recompute, as asked",
    ]


def test_disk_goes_on_after_an_interruption_and_serves_no_other_encoder(encoder, tmp_path):
    def on_disk(encoder, read) -> np.ndarray:
        settings = CacheSettings(place="disk")
        return Targets(
            encoder, read, np.arange(40), TargetKind(2), settings, folder=tmp_path, batch_size=8
        ).rows(np.arange(40))

    def interrupted(i):
        if i[0] == 32:
            raise KeyboardInterrupt
        return _SIGNALS[i]

    with pytest.raises(KeyboardInterrupt):
        on_disk(encoder, interrupted)
    read = []
    found = on_disk(encoder, lambda i: read.append(int(i[0])) or _SIGNALS[i])
    assert 0 < min(read[1:])  # the first read tells the shape
    np.testing.assert_allclose(found, encoder(_SIGNALS), rtol=1e-5, atol=1e-6)
    read.clear()
    on_disk(encoder, lambda i: read.append(int(i[0])) or _SIGNALS[i])
    assert read == [0]
    next(tmp_path.glob("*.json")).write_text("")  # as a machine that loses power may leave it
    np.testing.assert_allclose(on_disk(encoder, lambda i: _SIGNALS[i]), found)
    other = Toy(rngs=nnx.Rngs(1))
    found = on_disk(other, lambda i: _SIGNALS[i])
    np.testing.assert_allclose(found, other(_SIGNALS), rtol=1e-5, atol=1e-6)


def test_a_full_disk_is_told_before_anything_is_computed(encoder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    read = []
    with pytest.raises(InputError, match="cannot be written: No space left on device. targets need"):
        _targets(encoder, "disk", lambda i: read.append(i) or _SIGNALS[i], folder=tmp_path)
    assert len(read) == 1  # the first read tells the shape
    assert not list(tmp_path.iterdir())


def test_the_space_on_disk_is_taken_from_the_start(encoder, tmp_path):
    signals = np.zeros((8, 4096, 3), np.float32)

    def interrupted(i):
        if len(i) > 1:
            raise KeyboardInterrupt
        return signals[i]

    with pytest.raises(KeyboardInterrupt):
        Targets(
            encoder, interrupted, np.arange(8), TargetKind(2), CacheSettings("disk"),
            folder=tmp_path, batch_size=4,
        )
    (file,) = tmp_path.glob("*.targets")
    assert file.stat().st_blocks * 512 >= file.stat().st_size == signals.nbytes


def test_bfloat16_halves_and_rounds(encoder):
    full, half = _targets(encoder), _targets(encoder, settings={"dtype": "bfloat16"})
    rows = np.arange(11)
    assert half.window_bytes * 2 == full.window_bytes
    np.testing.assert_allclose(half.rows(rows).astype(np.float32), full.rows(rows), rtol=2**-8)


def test_every_place_trains_alike(encoder, tmp_path):
    """The same run from the device, host memory, disk and anew: the same curve."""
    inputs = {"pooled": np.random.default_rng(1).standard_normal((11, 2)).astype(np.float32)}
    curves = []
    for place in ("device", "host", "disk", "recompute"):
        module = nnx.Linear(2, 12, rngs=nnx.Rngs(0))

        def loss(module, batch):
            values = (module(batch["pooled"]).reshape(-1, 4, 3) - batch["target"]) ** 2
            return values.mean(axis=(1, 2)), jnp.ones(len(values))

        trainer = engine.Trainer(
            module, loss, engine.labels(module, lambda path: True), optax.adam(1e-2)
        )
        source = _targets(encoder, place, folder=tmp_path).source(trainer, inputs, np.arange(11))
        curves.append(fit(
            trainer, source, source, epochs=3, batch_size=4, seed=0, keep_best=False, what="x"
        ))
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-5, atol=1e-6)


def test_real_prototypes_are_tokens_each_drawn_once(encoder):
    read, kind = (lambda i: _SIGNALS[i]), TargetKind(1)
    drawn = real_tokens(encoder, read, _INDICES, kind, 9, seed=4)
    tokens = np.asarray(kind(encoder, _SIGNALS[_INDICES])).reshape(-1, 3)
    where = [int(np.argmin(np.abs(tokens - row).max(axis=1))) for row in drawn]
    assert len(set(where)) == 9
    np.testing.assert_allclose(tokens[where], drawn, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(drawn, real_tokens(encoder, read, _INDICES, kind, 9, seed=4))
    assert not np.array_equal(drawn, real_tokens(encoder, read, _INDICES, kind, 9, seed=5))
    everything = real_tokens(encoder, read, _INDICES, kind, 44, seed=0)
    np.testing.assert_allclose(everything, tokens, rtol=1e-5, atol=1e-6)


def test_bad_settings_are_refused(encoder):
    with pytest.raises(InputError, match="45 prototypes cannot be drawn from 44 real vectors"):
        real_tokens(encoder, lambda i: _SIGNALS[i], _INDICES, TargetKind(1), 45, seed=0)
    with pytest.raises(InputError, match="give a folder"):
        _targets(encoder, "disk")
    for bad in ({"place": "moon"}, {"dtype": "float16"}, {"device_gb": -1}):
        with pytest.raises(InputError):
            CacheSettings(**bad)
