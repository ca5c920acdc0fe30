"""One pass over all windows, on one device or eight, gives what the encoder gives."""

import warnings

import jax
import numpy as np
import pytest
from flax import nnx

from jaxbridge.features.capture import capture, mean_context
from jaxbridge.features.sweep import batches, sweep
from model_ports import CollapseWarning
from model_ports.errors import InputError
from tests.golden import relative_error
from tests.jaxbridge import tiny
from tests.jaxbridge.toy import Toy


@pytest.mark.parametrize("batch_size", [3, 16, 100])
def test_all_layers_in_order(batch_size):
    old, _ = tiny.encoders()
    windows = tiny.windows()
    chosen = np.array([5, 0, 17, 3, 44, 2, 60])
    found = capture(old, lambda i: windows.read("eeg", i), chosen, batch_size=batch_size)
    tokens = old.embed(windows.read("eeg", chosen))
    for i in range(old.num_layers):
        np.testing.assert_allclose(found.inputs[i], tokens.mean(axis=1), rtol=1e-4, atol=1e-5)
        tokens = old.run(tokens, i, i + 1)
        np.testing.assert_allclose(found.outputs[i], tokens.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_devices_do_not_matter():
    _, new = tiny.encoders()
    windows = tiny.windows()
    one, eight = (
        sweep(lambda e, x: e(x), new, lambda i: windows.read("ecg", i), np.arange(11),
              batch_size=4, what="test", devices=jax.devices()[:count])
        for count in (1, 8)
    )
    assert one.shape[0] == 11
    assert relative_error(one, eight) < 1e-5


def test_batches_are_read_ahead_but_not_far():
    reads = []

    def read(indices):
        reads.append(int(indices[0]))
        return np.ones((len(indices), 4, 3), np.float32)

    found = batches(lambda e, x: x.sum(axis=(1, 2)), Toy(rngs=nnx.Rngs(0)), read, np.arange(400),
                    batch_size=8, start=16, what="test")
    for number, sums in enumerate(found):
        np.testing.assert_array_equal(sums, np.full(8, 12))
        # One is in use, one is computed; the rest is read ahead.
        assert number + 1 < len(reads) <= number + 5 or len(reads) == 48
    assert reads == list(range(16, 400, 8))
    with pytest.raises(InputError, match="test: there are no windows"):
        next(batches(lambda e, x: x, Toy(rngs=nnx.Rngs(0)), read, np.arange(0), what="test"))


def test_mean_context():
    toy = Toy(rngs=nnx.Rngs(0))
    signals = np.random.default_rng(0).standard_normal((70, 4, 3)).astype(np.float32)
    chosen = np.arange(3, 70)
    found = mean_context(toy, lambda i: signals[i], chosen, batch_size=4)
    want = (1 + np.abs(signals[chosen]).mean(axis=1)).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(found["gain"], want, rtol=1e-5)
    old, _ = tiny.encoders()
    windows = tiny.windows()
    assert mean_context(old, lambda i: windows.read("eeg", i), np.arange(3)) == ()


def test_features_that_are_not_finite_name_the_window():
    _, new = tiny.encoders()
    signals = np.ones((6, 600), np.float32)
    signals[4, 7] = np.nan
    with pytest.raises(InputError, match="window 4"):
        capture(new, lambda i: signals[i], np.arange(6))


def test_an_encoder_that_does_not_tell_windows_apart_is_told():
    toy = Toy(rngs=nnx.Rngs(0))
    signals = np.random.default_rng(0).standard_normal((6, 4, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        capture(toy, lambda i: signals[i], np.arange(6))
    toy.linears[0].kernel[...] = np.zeros((3, 3), np.float32)
    with pytest.warns(CollapseWarning, match="toy gives 6 windows the same .* layer 0 and 2 more"):
        capture(toy, lambda i: signals[i], np.arange(6))
