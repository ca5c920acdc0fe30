"""NormWear against its PyTorch original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import model_ports as mp
from model_ports import registry
from tests import recipe
from tests.golden import Golden, layer_errors, relative_error
from tests.torch_values import TorchValues

_SMALL = {"depth": 3, "features": 24, "num_heads": 3, "mlp_features": 40, "position_rows": 4}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("normwear")


@pytest.fixture(scope="module")
def encoder(golden: Golden) -> mp.Encoder:
    return mp.from_state_dict("normwear", golden.state_dict())


@pytest.fixture(scope="module")
def small() -> mp.Encoder:
    return mp.create("normwear", rngs=nnx.Rngs(0), **_SMALL)


def _with_config(encoder: mp.Encoder, **overrides) -> mp.Encoder:
    """The same weights under another configuration."""
    target = registry.abstract("normwear", encoder.config.override(**overrides))
    return nnx.merge(nnx.graphdef(target), nnx.state(encoder))


@pytest.mark.slow
def test_every_layer_agrees_with_the_original(encoder: mp.Encoder, golden: Golden) -> None:
    shape = (2, *encoder.layer_shape(0, golden.signal().shape))
    suffixes = {i: recipe.signal(1, shape) for i in (3, 10)}
    errors = layer_errors(encoder, golden, suffixes)
    for i, tokens in suffixes.items():
        final = jax.jit(lambda e, t, i=i: e.readout(e.run(t, i, e.num_layers)))(
            encoder, tokens
        )
        errors[f"suffix_from_{i}_final"] = relative_error(
            final, golden.arrays[f"suffix_from_{i}_final"]
        )
    print(f"normwear: {len(errors)} arrays, max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


@pytest.mark.slow
def test_other_length_and_scalogram(encoder: mp.Encoder, golden: Golden) -> None:
    embed = jax.jit(lambda e, x: e.activations(x).final)
    x = recipe.signal(2, (2, 3, 260))
    errors = {"260 samples": relative_error(embed(encoder, x), golden.arrays["alt_final_output"])}
    table = np.asarray(encoder._positions(28))
    norm = np.array([table.mean(), table.std(), np.sqrt((table.astype(np.float64) ** 2).sum())])
    errors["table"] = relative_error(table[:8, :16], golden.arrays["alt_pos_embed_corner"])
    errors["table norm"] = relative_error(norm, golden.arrays["alt_pos_embed_norm"])
    other = _with_config(encoder, scalogram="torch")
    errors["torch scalogram"] = relative_error(
        embed(other, golden.signal()), golden.arrays["final_output_cwt_torch"]
    )
    print(f"normwear: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


@pytest.mark.slow
def test_bfloat16(encoder: mp.Encoder, golden: Golden) -> None:
    x = golden.signal()[:1]
    low = _with_config(encoder, dtype="bfloat16")
    assert jax.eval_shape(lambda e, x: e.embed(x), low, x).dtype == jnp.bfloat16
    run = jax.jit(lambda e, x: e.activations(x))
    found, want = run(low, x), run(encoder, x)
    errors = [
        relative_error(found.final, np.asarray(want.final)),
        relative_error(found.outputs[-1], np.asarray(want.outputs[-1])),
    ]
    print(f"normwear: bfloat16 embedding differs by {errors[0]:.1e}, token mean by {errors[1]:.1e}")
    assert all(1e-5 < error < 5e-2 for error in errors)


@pytest.mark.parametrize("name", ["normwear_two_channels_131", "normwear_sixteen_channels_47"])
@pytest.mark.slow
def test_other_lengths_channels_and_weights(name: str) -> None:
    """Computed with the original's NormWear(depth=4) under timm's Block with eps 1e-5, on the
    scalogram of 131 and 47 samples: the position table shrinks to 14 and 5 rows. 16 channels
    show what tokens alone cannot tell: 16 * 66 tokens could be 3 * 352."""
    values = TorchValues(name)
    encoder = mp.from_state_dict("normwear", values.state_dict())
    x = values.signal()

    def outputs(encoder: mp.Encoder, x: jax.Array) -> tuple[mp.Activations, jax.Array]:
        third = encoder.run(encoder.embed(x), 0, 3, encoder.context(x))
        return encoder.activations(x), third

    found, third = jax.jit(outputs)(encoder, x)
    errors = {
        f"output_mean_{i}": relative_error(mean, values.arrays[f"output_mean_{i}"])
        for i, mean in enumerate(found.outputs)
    }
    errors["corner_2"] = relative_error(third[0, :8, :16], values.arrays["corner_2"])
    errors["final_first"] = relative_error(found.final[:, :2], values.arrays["final_first"])
    errors["final_last"] = relative_error(found.final[:, -1], values.arrays["final_last"])
    tokens = recipe.signal(
        int(values.arrays["seed"]) + 1, (x.shape[0], *encoder.layer_shape(1, x.shape))
    )
    context = encoder.context(x)
    last = encoder.run(tokens, 1, 4, context)
    errors["suffix"] = relative_error(last.mean(axis=1), values.arrays["suffix_from_1"])
    errors["suffix_final"] = relative_error(
        encoder.readout(last, context)[:, -1], values.arrays["suffix_from_1_final_last"]
    )
    print(f"{name}: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


@settings(deadline=None, max_examples=12)
@given(channels=st.integers(1, 40), samples=st.integers(11, 2000))
@pytest.mark.slow
def test_shapes_for_any_channels_and_length(channels: int, samples: int) -> None:
    encoder = nnx.eval_shape(lambda: mp.create("normwear", rngs=nnx.Rngs(0), **_SMALL))
    tokens = channels * (1 + 13 * ((samples - 2) // 9))
    for i in range(4):
        assert encoder.layer_shape(i, (1, channels, samples)) == (tokens, 24)
    signal = jax.ShapeDtypeStruct((2, channels, samples), jnp.float32)
    final = jax.eval_shape(lambda e, x: e.activations(x).final, encoder, signal)
    assert final.shape == (2, channels, 24)


@pytest.mark.parametrize("channels", [5, 17])
def test_channels_are_a_set_and_meet_in_their_class_tokens(
    small: mp.Encoder, channels: int
) -> None:
    x = recipe.signal(3, (2, channels, 40))
    order = np.random.RandomState(0).permutation(channels)
    embed = jax.jit(lambda e, x: e.activations(x).final)
    np.testing.assert_allclose(
        embed(small, x[:, order]), embed(small, x)[:, order], rtol=1e-4, atol=1e-5
    )
    other = x.copy()
    other[:, 1] += 1 + other[:, 1] ** 2
    first = jax.jit(lambda e, x: e.run(e.embed(x), 0, 1, e.context(x)))
    change = np.abs(first(small, other) - first(small, x)).reshape(2, channels, -1, 24)
    assert change[:, 0, 0].max() > 1e-4  # the class token of another channel
    assert change[:, 0, 1:].max() < 1e-5  # its patches
    assert change[:, 1, 1:].max() > 1e-3


def test_run_in_parts_is_the_whole(small: mp.Encoder) -> None:
    x = recipe.signal(4, (2, 3, 50))
    parts = small.embed(x)
    for start, stop in ((0, 1), (1, 3)):
        parts = small.run(parts, start, stop, small.context(x))
    np.testing.assert_allclose(parts, small(x), rtol=1e-5, atol=1e-6)


def test_gradient_of_a_suffix_and_of_the_front_end(small: mp.Encoder) -> None:
    tokens = jnp.asarray(recipe.signal(5, (1, *small.layer_shape(1, (1, 2, 30)))))
    check_grads(jax.jit(lambda t: small.run(t, 1, 3)), (tokens,), order=1, modes=("rev",),
                rtol=2e-2, atol=2e-2)
    x = jnp.asarray(recipe.signal(6, (1, 2, 30)))
    check_grads(jax.jit(lambda x: small.embed(x)), (x,), order=1, modes=("rev",),
                rtol=2e-2, atol=2e-2)


def test_save_and_load_keep_every_bit(small: mp.Encoder, tmp_path) -> None:
    mp.save(small, tmp_path / "encoder")
    loaded = mp.load(tmp_path / "encoder")
    assert loaded.config == small.config
    assert mp.weights_hash(loaded) == mp.weights_hash(small)
    x = recipe.signal(7, (1, 2, 40))
    np.testing.assert_array_equal(loaded(x), small(x))


def test_prefixed_files_and_sizes_are_read() -> None:
    values = TorchValues("normwear_two_channels_131")
    state = {f"backbone.{name}": array for name, array in values.state_dict().items()}
    state["backbone.decoder_blocks.0.norm1.weight"] = np.ones(512, np.float32)
    encoder, coverage = registry.read_state_dict("normwear", state)
    config = encoder.config
    assert (config.depth, config.position_rows, config.features) == (4, 43, 768)
    assert config.mlp_features == 3072
    assert coverage.ignored == ("decoder_blocks.0.norm1.weight",)


def test_bad_entries_are_named() -> None:
    state = TorchValues("normwear_two_channels_131").state_dict()
    del state["encoder_blocks.2.cls_fusion.norm1.bias"]
    state["patch_embed.proj.weight"] = np.zeros((768, 1, 9, 5), np.float32)
    state["head.weight"] = np.zeros((2, 768), np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("normwear", state)
    message = str(error.value)
    assert "missing: encoder_blocks.2.cls_fusion.norm1.bias (768,)" in message
    assert "patch_embed.proj.weight is (768, 1, 9, 5), must be (768, 3, 9, 5)" in message
    assert "unexpected: head.weight (2, 768)" in message
    assert "(3 entries)" in message


@pytest.mark.parametrize("shape", [(2, 390), (2, 3, 10), (2, 3, 3, 388, 65)])
def test_wrong_signals_are_refused(small: mp.Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(mp.InputError, match="NormWear"):
        small.embed(np.zeros(shape, np.float32))


@pytest.mark.parametrize("tokens", [1, 12, 15, 26, 41])
def test_tokens_of_no_channel_count_are_refused(small: mp.Encoder, tokens: int) -> None:
    with pytest.raises(mp.InputError, match="tokens are not those of NormWear"):
        small.run(jnp.zeros((1, tokens, 24)), 0, 1)


def test_random_weights_are_drawn_as_published(small: mp.Encoder) -> None:
    kernel = np.asarray(small.layers[1].variate_encoder.mlp.fc1.kernel[...])
    bound = np.sqrt(6 / (24 + 40))  # Xavier
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    table = np.asarray(small.pos_embed[...])[0]
    assert not table[0].any()
    grid = table[1:].reshape(4, 13, 2, 12)  # rows, columns, (of column, of row), features
    np.testing.assert_array_equal(grid[:1, :, 0], grid[3:, :, 0])
    np.testing.assert_array_equal(grid[:, :1, 1], grid[:, 12:, 1])
    np.testing.assert_allclose(grid[..., :6] ** 2 + grid[..., 6:] ** 2, 1, rtol=1e-5)
    trainable = nnx.to_flat_state(nnx.state(small, nnx.Param))
    assert ("pos_embed",) not in [path for path, _ in trainable]
