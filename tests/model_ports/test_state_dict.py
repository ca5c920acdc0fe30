"""A state dict fits entirely or is refused, every offending name told."""

import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from tests.golden import Golden


@pytest.fixture
def entries() -> dict[str, np.ndarray]:
    return Golden("labram").state_dict()


def test_all_faults_are_named_with_both_shapes(entries):
    del entries["blocks.3.attn.qkv.weight"]
    entries["blocks.1.mlp.fc1.weight"] = entries["blocks.1.mlp.fc1.weight"].T
    entries["blocks.12.gamma_1"] = np.ones(7, np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("labram", entries)
    message = str(error.value)
    assert "missing: blocks.3.attn.qkv.weight (600, 200)" in message
    assert "blocks.1.mlp.fc1.weight is (200, 800), must be (800, 200)" in message
    assert "unexpected: blocks.12.gamma_1 (7,)" in message


def test_weights_are_bit_equal_after_layout_changes(entries):
    encoder = mp.from_state_dict("labram", entries)
    np.testing.assert_array_equal(
        encoder.blocks[2].attn.qkv.kernel[...], entries["blocks.2.attn.qkv.weight"].T
    )
    np.testing.assert_array_equal(
        encoder.patch_embed.conv2.kernel[...],
        entries["patch_embed.conv2.weight"][:, :, 0].transpose(2, 1, 0),
    )
    np.testing.assert_array_equal(encoder.time_embed[...], entries["time_embed"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_values_are_refused(entries, value):
    entries["fc_norm.bias"][5] = value
    with pytest.raises(mp.InputError, match="fc_norm.bias holds NaN or infinity"):
        mp.from_state_dict("labram", entries)


def test_integers_are_refused(entries):
    entries["fc_norm.bias"] = np.zeros(200, np.int32)
    with pytest.raises(mp.InputError, match="fc_norm.bias holds int32"):
        mp.from_state_dict("labram", entries)


def test_unknown_names_are_refused():
    with pytest.raises(mp.InputError, match="no encoder 'labrum'; there are .*labram"):
        mp.create("labrum", rngs=nnx.Rngs(0))
    with pytest.raises(mp.InputError, match="has no detph; its fields are .*depth"):
        mp.create("labram", rngs=nnx.Rngs(0), detph=3)
    with pytest.raises(mp.InputError, match="dtype is 'float16'"):
        mp.create("labram", rngs=nnx.Rngs(0), dtype="float16")


