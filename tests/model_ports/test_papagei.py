"""PaPaGei-S against its PyTorch original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import model_ports as mp
from tests import recipe
from tests.golden import Golden, layer_errors, relative_error
from tests.torch_values import TorchValues

_SMALL = {"depth": 7, "features": 8, "embedding_features": 24, "num_experts": 2}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("papagei")


@pytest.fixture(scope="module")
def encoder(golden: Golden) -> mp.Encoder:
    return mp.from_state_dict("papagei", golden.state_dict())


@pytest.fixture(scope="module")
def small() -> mp.Encoder:
    return mp.from_state_dict("papagei", TorchValues("papagei_two_channels_37").state_dict())


def _replaced_input(encoder: mp.Encoder, golden: Golden, layer: int) -> np.ndarray:
    # The original's layout is (batch, features, tokens).
    tokens, features = encoder.layer_shape(layer, golden.signal().shape)
    return recipe.signal(1, (2, features, tokens)).transpose(0, 2, 1)


def test_every_layer_agrees_with_the_original(encoder: mp.Encoder, golden: Golden) -> None:
    suffixes = {i: _replaced_input(encoder, golden, i) for i in (5, 12)}
    errors = layer_errors(encoder, golden, suffixes)
    heads = jax.jit(lambda e, x: e.heads(e(x)))(encoder, golden.signal())
    for ours, theirs in (("ipa", "moe1"), ("sqi", "moe2"), ("pooled", "pooled")):
        errors[ours] = relative_error(getattr(heads, ours), golden.arrays[f"final_{theirs}"])
    for i, tokens in suffixes.items():
        final = jax.jit(lambda e, t, i=i: e.readout(e.run(t, i, e.num_layers)))(encoder, tokens)
        errors[f"suffix_from_{i}_final"] = relative_error(
            final, golden.arrays[f"suffix_from_{i}_final"]
        )
    print(f"papagei: {len(errors)} arrays, max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


@pytest.mark.parametrize("name", ["papagei_published_1001", "papagei_two_channels_37"])
def test_other_lengths_channels_and_sizes(name: str) -> None:
    """Computed with the original's ResNet1DMoE: published sizes on 1001 samples; and two channels,
    7 blocks of 8 to 16 features, 2 experts, kernel 5, embedding 24, on 37 samples, where odd
    lengths meet both the convolution's and the pooling's padding."""
    values = TorchValues(name)
    encoder = mp.from_state_dict("papagei", values.state_dict())

    def outputs(encoder: mp.Encoder, x: jax.Array) -> tuple[mp.Activations, jax.Array, tuple]:
        tokens = encoder(x)
        return encoder.activations(x), tokens, encoder.heads(tokens)

    found, tokens, heads = jax.jit(outputs)(encoder, values.signal())
    errors = {
        f"output_mean_{i}": relative_error(mean, values.arrays[f"output_mean_{i}"])
        for i, mean in enumerate(found.outputs)
    }
    errors["last_output"] = relative_error(tokens, values.arrays["last_output"])
    for key in ("embedding", "ipa", "sqi", "pooled"):
        errors[key] = relative_error(getattr(heads, key), values.arrays[key])
    print(f"{name}: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


def test_sizes_are_read_off_the_state_dict(small: mp.Encoder) -> None:
    config = small.config
    assert (config.depth, config.features, config.channels, config.kernel) == (7, 8, 2, 5)
    assert (config.embedding_features, config.num_experts) == (24, 2)


@settings(deadline=None, max_examples=15)
@given(samples=st.integers(1, 9000))
def test_tokens_are_halved_and_rounded_up(samples: int) -> None:
    encoder = nnx.eval_shape(lambda: mp.create("papagei", rngs=nnx.Rngs(0), **_SMALL))
    tokens = samples
    for i in range(8):
        features = 8 if i <= 4 else 16
        assert encoder.layer_shape(i, (1, 1, samples)) == (tokens, features)
        tokens = -(-tokens // 2) if i % 2 == 1 else tokens


def test_run_in_parts_is_the_whole(small: mp.Encoder) -> None:
    x = recipe.signal(5, (2, 2, 50))
    whole = jax.jit(lambda e, x: e(x))(small, x)
    parts = small.embed(x)
    for start, stop in ((0, 2), (2, 5), (5, 7)):
        assert parts.shape[1:] == small.layer_shape(start, x.shape)
        parts = small.run(parts, start, stop)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_suffix(small: mp.Encoder) -> None:
    tokens = jnp.asarray(recipe.signal(6, (2, *small.layer_shape(3, (2, 2, 64)))))
    # A short step, so that few rectifiers switch within it.
    suffix = jax.jit(lambda t: small.run(t, 3, 7))
    check_grads(suffix, (tokens,), order=1, modes=("rev",), eps=1e-3, rtol=2e-2, atol=2e-2)


def test_bfloat16(golden: Golden, encoder: mp.Encoder) -> None:
    x = golden.signal()
    low = mp.from_state_dict("papagei", golden.state_dict(), dtype="bfloat16")
    assert low.embed(x).dtype == jnp.bfloat16
    run = jax.jit(lambda e, x: e.activations(x))
    error = relative_error(run(low, x).final, np.asarray(run(encoder, x).final))
    print(f"papagei: bfloat16 embedding differs by {error:.1e}")
    assert 1e-5 < error < 5e-2


def test_save_and_load_keep_every_bit(small: mp.Encoder, tmp_path) -> None:
    mp.save(small, tmp_path / "encoder")
    loaded = mp.load(tmp_path / "encoder")
    assert loaded.config == small.config
    assert mp.weights_hash(loaded) == mp.weights_hash(small)
    x = recipe.signal(7, (1, 2, 40))
    np.testing.assert_array_equal(loaded(x), small(x))


def test_running_statistics_are_weights_but_not_trainable(small: mp.Encoder) -> None:
    state = TorchValues("papagei_two_channels_37").state_dict()
    state["basicblock_list.2.bn1.running_mean"] = state["basicblock_list.2.bn1.running_mean"] + 1
    other = mp.from_state_dict("papagei", state)
    assert mp.weights_hash(other) != mp.weights_hash(small)
    trainable = {
        ".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(small, nnx.Param))
    }
    assert "blocks.2.bn1.scale" in trainable and "blocks.2.bn1.mean" not in trainable
    x = recipe.signal(8, (1, 2, 40))
    before = small(x)
    small.train()
    np.testing.assert_array_equal(small(x), before)


def test_bad_entries_are_named() -> None:
    state = TorchValues("papagei_two_channels_37").state_dict()
    state["final_bn.num_batches_tracked"] = np.zeros((), np.int64)
    del state["basicblock_list.3.bn2.running_var"]
    state["basicblock_list.1.conv1.conv.weight"] = np.zeros((8, 8, 3), np.float32)
    state["projector.0.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("papagei", state)
    message = str(error.value)
    assert "missing: basicblock_list.3.bn2.running_var (8,)" in message
    assert "basicblock_list.1.conv1.conv.weight is (8, 8, 3), must be (8, 8, 5)" in message
    assert "unexpected: projector.0.weight (2, 2)" in message
    assert "(3 entries)" in message


def test_one_wrong_entry_does_not_make_all_others_wrong() -> None:
    state = TorchValues("papagei_two_channels_37").state_dict()
    state["first_block_conv.conv.weight"] = np.zeros((9, 2, 5), np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("papagei", state, features=8)
    assert "first_block_conv.conv.weight is (9, 2, 5), must be (8, 2, 5)" in str(error.value)
    assert "(1 entries)" in str(error.value)


@pytest.mark.parametrize("shape", [(2, 7500), (2, 3, 100), (2, 2, 0)])
def test_wrong_signals_are_refused(small: mp.Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(mp.InputError, match="PaPaGei"):
        small.embed(np.zeros(shape, np.float32))


def test_random_weights_are_drawn_as_published() -> None:
    encoder = mp.create("papagei", rngs=nnx.Rngs(0), **_SMALL | {"features": 64})
    conv = encoder.blocks[6].conv2
    bound = 1 / np.sqrt(128 * 3)  # PyTorch's default: uniform within 1/sqrt(fan_in)
    assert bound * 0.99 < np.abs(conv.kernel[...]).max() <= bound
    assert bound * 0.9 < np.abs(conv.bias[...]).max() <= bound
    readout = jax.jit(lambda e, x: e.activations(x).final)(encoder, recipe.signal(0, (1, 1, 300)))
    assert np.isfinite(readout).all()
