"""What all encoders share: their configurations' fields, batches of no window."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from tests.model_ports.published import TINY


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("ecg_fm", "layer_norm_first", "False", "norm_first is 'False'; it must be True or False"),
        ("ecg_fm", "layer_norm_first", 0, "must be True or False"),
        ("labram", "depth", "2", "depth is '2'; it must be a whole number"),
        ("labram", "depth", 2.5, "must be a whole number"),
        ("labram", "depth", True, "must be a whole number"),
        ("labram", "layer_scale", "0.1", "must be a number"),
        ("labram", "leads", "F3", "leads is 'F3'; it must be a sequence"),
    ],
)
def test_fields_of_another_type_are_refused(name, field, value, message):
    with pytest.raises(mp.InputError, match=message):
        mp.create(name, rngs=nnx.Rngs(0), **TINY[name] | {field: value})


def test_numpys_types_are_taken_and_saved(tmp_path):
    encoder = mp.create(
        "labram", rngs=nnx.Rngs(0), depth=np.int64(1), leads=np.array(["F3", "O1"]),
        layer_scale=np.float32(0.5), sampling_rate_hz=200,
    )
    mp.save(encoder, tmp_path / "labram")
    assert mp.load(tmp_path / "labram").config == encoder.config
    assert encoder.config.leads == ("F3", "O1")


_SHAPES = {  # of one window
    "labram": (4, 2, 200), "normwear": (3, 393), "papagei": (1, 333), "ecg_dualnet": (1, 18000),
    "tiny_biomoe": (3, 224, 224), "ecg_fm": (12, 1003),
    **{f"hubert_ecg_{size}": (1003,) for size in ("small", "base", "large")},
}


@pytest.mark.parametrize("name", mp.available())
def test_no_windows_have_no_features(name):
    def final(encoder, signal):
        return encoder.activations(signal).final

    some, none = (
        jax.eval_shape(
            final, mp.abstract(name), jax.ShapeDtypeStruct((batch, *_SHAPES[name]), np.float32)
        )
        for batch in (2, 0)
    )
    assert none.shape == (0, *some.shape[1:])


@pytest.mark.parametrize("name", mp.available())
def test_weights_are_float32_where_jax_has_64_bits(name):
    with jax.enable_x64(True):
        state = nnx.state(mp.abstract(name, **({"leads": ("F3",)} if name == "labram" else {})))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}
