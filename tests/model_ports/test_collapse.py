"""Collapsed features are told, others are not."""

import warnings

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import model_ports as mp
from model_ports.collapse import THRESHOLD, spread
from tests import recipe
from tests.model_ports.published import TINY

_SHAPES = {
    "labram": (6, 3, 2, 200), "hubert_ecg_small": (6, 700), "papagei": (6, 1, 300),
}


def _activations(encoder: mp.Encoder, signal: np.ndarray) -> mp.Activations:
    return jax.jit(lambda encoder, signal: encoder.activations(signal))(encoder, signal)


@pytest.mark.parametrize("name", _SHAPES)
def test_random_encoders_tell_even_similar_windows_apart(name):
    """Windows that differ from a common wave by noise of 1 %. Of all nine encoders at published size
    the least spread of any layer was 2.6e-4, Tiny-BioMoE's; windows that are alike give 0 to 3e-8."""
    encoder = mp.create(name, rngs=nnx.Rngs(0), **TINY[name])
    shape = _SHAPES[name]
    common = np.broadcast_to(np.sin(np.arange(shape[-1], dtype=np.float32) / 7), shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mp.check_collapse(_activations(encoder, common + 0.01 * recipe.signal(0, shape)))
    assert len(found) == encoder.num_layers + 1
    assert min(found) > 10 * THRESHOLD


@pytest.mark.parametrize(("name", "kernel"), [
    ("hubert_ecg_small", "projection"),
    ("papagei", "stem"),
])
def test_zeroed_input_projection_is_told(name, kernel):
    encoder = mp.create(name, rngs=nnx.Rngs(0), **TINY[name])
    module = getattr(encoder, kernel)
    module.kernel[...] = np.zeros_like(module.kernel[...])
    activations = _activations(encoder, recipe.signal(0, _SHAPES[name]))
    with pytest.warns(mp.CollapseWarning, match="layer 0 and .* more vary by less than"):
        mp.check_collapse(activations, name)


def test_the_collapsed_layer_is_named():
    encoder = mp.create("labram", rngs=nnx.Rngs(0), depth=2)
    encoder.fc_norm.scale[...] = np.zeros(200, np.float32)
    encoder.fc_norm.bias[...] = np.ones(200, np.float32)
    with pytest.warns(mp.CollapseWarning, match="LaBraM gives 6 .* the final embeddings vary"):
        mp.check_collapse(_activations(encoder, recipe.signal(0, _SHAPES["labram"])), "LaBraM")


def test_one_window_and_an_array():
    assert mp.check_collapse(np.ones((1, 8))) == ()
    assert mp.check_collapse(recipe.signal(0, (40, 8)))[0] == pytest.approx(1, abs=0.05)
    with pytest.warns(mp.CollapseWarning, match="the features vary"):
        assert mp.check_collapse(np.zeros((3, 8))) == (0.0,)
    with pytest.raises(mp.InputError, match="windows as their first axis"):
        mp.check_collapse(np.float32(3))


@given(
    hnp.arrays(np.float64, (5, 3), elements=st.floats(-10, 10, width=32)),
    st.floats(1e-6, 1e6),
)
def test_spread_is_scale_free_and_between_0_and_1(features, scale):
    value = spread(features)
    assert 0 <= value <= 1 + 1e-12
    assert spread(features * scale) == pytest.approx(value, rel=1e-6, abs=1e-12)
    assert spread(np.repeat(features[:1], 5, axis=0)) == pytest.approx(0, abs=1e-12)
