"""ECG-DualNet against its PyTorch original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

import model_ports as mp
from tests import recipe
from tests.golden import Golden, layer_errors, relative_error
from tests.torch_values import TorchValues

_SMALL = "ecg_dualnet_small_2399"


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("ecg_dualnet")


@pytest.fixture(scope="module")
def encoder(golden: Golden) -> mp.Encoder:
    return mp.from_state_dict("ecg_dualnet", golden.state_dict())


@pytest.fixture(scope="module")
def small() -> mp.Encoder:
    return mp.from_state_dict("ecg_dualnet", TorchValues(_SMALL).state_dict())


def _replaced_input(encoder: mp.Encoder, golden: Golden, layer: int) -> np.ndarray:
    # The original's layout is (batch, features, height, width).
    tokens, features = encoder.layer_shape(layer, golden.signal().shape)
    return recipe.signal(1, (2, features, tokens)).transpose(0, 2, 1)


def test_every_layer_agrees_with_the_original(encoder: mp.Encoder, golden: Golden) -> None:
    signal, arrays = golden.signal(), golden.arrays
    suffixes = {i: _replaced_input(encoder, golden, i) for i in (1, 3)}
    errors = layer_errors(encoder, golden, suffixes)
    context = encoder.context(signal)
    errors["context"] = relative_error(context, arrays["latent_vector"])
    logits = jax.jit(lambda e, x, c: e.logits(e(x), c))(encoder, signal, context)
    errors["logits"] = relative_error(logits, arrays["final_logits"])
    for i, tokens in suffixes.items():
        logits = jax.jit(lambda e, t, c, i=i: e.logits(e.run(t, i, e.num_layers, c), c))(
            encoder, tokens, context
        )
        errors[f"suffix_from_{i}_final"] = relative_error(
            jax.nn.softmax(logits), arrays[f"suffix_from_{i}_final"]
        )
    print(f"ecg_dualnet: {len(errors)} arrays, max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


def test_signal_branch_agrees_with_the_original(encoder: mp.Encoder, golden: Golden) -> None:
    branch, arrays = encoder.signal_branch, golden.arrays
    tokens = branch.embed(golden.signal()[:, 0])
    errors = {}
    for i, layer in enumerate(branch.layers):
        key = f"ecg_encoder_layer{i}"
        errors[f"{key}_input_mean"] = relative_error(
            tokens.mean(axis=1), arrays[f"{key}_input_mean"]
        )
        tokens = layer(tokens)
        errors[f"{key}_output_mean"] = relative_error(
            tokens.mean(axis=1), arrays[f"{key}_output_mean"]
        )
        errors[f"{key}_output_corner"] = relative_error(
            tokens[0, :8, :16], arrays[f"{key}_output_corner"]
        )
    # The golden replaces the second layer's input, (windows, batch, features) there.
    tokens = recipe.signal(1, (80, 2, 256)).transpose(1, 0, 2)
    for layer in branch.layers[1:]:
        tokens = layer(tokens)
    context = branch.norm(tokens).mean(axis=1)
    last = jax.jit(lambda e, x, c: e.run(e.embed(x), 0, e.num_layers, c))(
        encoder, golden.signal(), context
    )
    errors["suffix"] = relative_error(
        last.mean(axis=1), arrays["suffix_from_ecg_encoder_layer1"]
    )
    errors["suffix_final"] = relative_error(
        jax.nn.softmax(encoder.logits(last, context)),
        arrays["suffix_from_ecg_encoder_layer1_final"],
    )
    print(f"ecg_dualnet, signal branch: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


@pytest.mark.parametrize("name", ["ecg_dualnet_published_17952", _SMALL])
@pytest.mark.slow
def test_other_lengths_and_sizes(name: str) -> None:
    """Computed with the original's ECGAttNet: published sizes on the shortest signal; and 10
    windows, two blocks of convolution and two of attention over 18 and 9 frames with 32 and 64
    features (an unchanged number of features has no shortcut map), 4 classes, on 2399 samples."""
    values = TorchValues(name)
    encoder = mp.from_state_dict("ecg_dualnet", values.state_dict())
    signal = values.signal()
    found = jax.jit(lambda e, x: e.activations(x))(encoder, signal)
    context = encoder.context(signal)
    last = jax.jit(lambda e, x: e(x))(encoder, signal)
    errors = {
        f"output_mean_{i}": relative_error(mean, values.arrays[f"output_mean_{i}"])
        for i, mean in enumerate(found.outputs)
    }
    errors["last_output"] = relative_error(last, values.arrays["last_output"])
    errors["context"] = relative_error(context, values.arrays["context"])
    errors["logits"] = relative_error(encoder.logits(last, context), values.arrays["logits"])
    errors["final"] = relative_error(found.final, values.arrays["final"])
    print(f"{name}: max error {max(errors.values()):.2e}")
    assert all(error < 1e-5 for error in errors.values()), errors


def test_sizes_are_read_off_the_state_dict(small: mp.Encoder) -> None:
    config = small.config
    assert (config.features, config.conv_blocks) == ((32, 32, 64, 64), 2)
    assert (config.time_span, config.num_windows, config.signal_depth) == (18, 10, 2)
    assert (config.mlp_features, config.classes) == (64, 4)
    assert config.samples_range == (2272, 2399)


def test_layer_shapes(encoder: mp.Encoder) -> None:
    shape = (1, 1, 18000)
    assert [encoder.layer_shape(i, shape) for i in range(6)] == [
        (563 * 33, 1), (281 * 16, 128), (140 * 8, 256), (70 * 4, 512), (35 * 2, 512), (17, 256)
    ]
    assert encoder.layer_shape(1, (1, 1, 17952)) == (281 * 16, 128)
    assert encoder.layer_shape(0, (1, 1, 17952)) == (562 * 33, 1)


def test_run_in_parts_is_the_whole(small: mp.Encoder) -> None:
    x = recipe.signal(5, (2, 1, 2300))
    context = small.context(x)
    parts = small.embed(x)
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        assert parts.shape[1:] == small.layer_shape(start, x.shape)
        parts = jax.jit(type(small).run, static_argnums=(2, 3))(
            small, parts, start, stop, context
        )
    whole = jax.jit(lambda e, x: e(x))(small, x)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_samples_of_a_batch_do_not_mix(small: mp.Encoder) -> None:
    x = recipe.signal(5, (3, 1, 2300))
    run = jax.jit(lambda e, x: e.activations(x).final)
    np.testing.assert_allclose(run(small, x)[1:2], run(small, x[1:2]), rtol=1e-5, atol=1e-6)


def test_one_context_serves_a_batch(small: mp.Encoder) -> None:
    tokens = recipe.signal(6, (3, *small.layer_shape(2, (3, 1, 2300))))
    context = small.context(recipe.signal(5, (1, 1, 2300)))
    run = jax.jit(lambda e, t, c: e.run(t, 2, 4, c))
    np.testing.assert_allclose(
        run(small, tokens, context), run(small, tokens, jnp.repeat(context, 3, axis=0)),
        rtol=1e-5, atol=1e-6,
    )


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.slow
def test_gradient_of_a_suffix(small: mp.Encoder, start: int) -> None:
    tokens = jnp.asarray(recipe.signal(6, (1, *small.layer_shape(start, (1, 1, 2300)))))
    context = small.context(recipe.signal(5, (1, 1, 2300)))
    suffix = jax.jit(lambda t, c: small.run(t, start, 4, c))
    check_grads(
        suffix, (tokens, context), order=1, modes=("rev",), eps=1e-3, rtol=2e-2, atol=2e-2
    )


def test_bfloat16(small: mp.Encoder) -> None:
    values = TorchValues(_SMALL)
    low = mp.from_state_dict("ecg_dualnet", values.state_dict(), dtype="bfloat16")
    assert low.embed(values.signal()).dtype == jnp.bfloat16
    run = jax.jit(lambda e, x: e.activations(x).outputs[-1])
    error = relative_error(run(low, values.signal()), np.asarray(run(small, values.signal())))
    print(f"ecg_dualnet: bfloat16 last layer differs by {error:.1e}")
    assert 1e-5 < error < 5e-2


def test_save_and_load_keep_every_bit(small: mp.Encoder, tmp_path) -> None:
    mp.save(small, tmp_path / "encoder")
    loaded = mp.load(tmp_path / "encoder")
    assert loaded.config == small.config
    assert mp.weights_hash(loaded) == mp.weights_hash(small)
    x = recipe.signal(7, (1, 1, 2300))
    np.testing.assert_array_equal(loaded.context(x), small.context(x))


def test_bad_entries_are_named() -> None:
    state = TorchValues(_SMALL).state_dict()
    del state["spectrogram_encoder.3.final_activation.weight_numerator"]
    state["spectrogram_encoder.0.main_mapping_conv_1.weight"] = np.zeros((33, 1, 3, 3), np.float32)
    state["linear_layer_3.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("ecg_dualnet", state)
    message = str(error.value)
    assert "missing: spectrogram_encoder.3.final_activation.weight_numerator (6,)" in message
    assert "main_mapping_conv_1.weight is (33, 1, 3, 3), must be (32, 1, 3, 3)" in message
    assert "unexpected: linear_layer_3.weight (2, 2)" in message
    assert "(3 entries)" in message


def test_tables_that_no_signal_fits_are_named(golden: Golden) -> None:
    state = golden.state_dict()
    state["positional_embedding"] = np.zeros((40, 1, 256), np.float32)
    with pytest.raises(mp.InputError, match=r"positional_embedding is \(40, 1, 256\), must be"):
        mp.from_state_dict("ecg_dualnet", state)


@pytest.mark.parametrize("shape", [(1, 2300), (1, 2, 2300), (1, 1, 2271), (1, 1, 2400)])
def test_wrong_signals_are_refused(small: mp.Encoder, shape: tuple[int, ...]) -> None:
    for take in (small.embed, small.context):
        with pytest.raises(mp.InputError, match="ECG-DualNet"):
            take(np.zeros(shape, np.float32))


def test_the_ends_of_the_range_are_taken(small: mp.Encoder) -> None:
    for samples in small.config.samples_range:
        x = np.zeros((1, 1, samples), np.float32)
        assert np.isfinite(jax.jit(lambda e, x: e.activations(x).final)(small, x)).all()


def test_layers_need_the_context_and_a_grid(small: mp.Encoder) -> None:
    tokens = np.zeros((1, *small.layer_shape(2, (1, 1, 2300))), np.float32)
    context = small.context(np.zeros((1, 1, 2300), np.float32))
    with pytest.raises(mp.InputError, match=r"context=encoder\.context\(signal\)"):
        small.run(tokens, 2, 4)
    with pytest.raises(mp.InputError, match="layer 2 takes 18 x 8"):
        small.run(tokens[:, :-8], 2, 4, context)
    with pytest.raises(mp.InputError, match="layer 1 takes n x 16"):
        small.run(np.zeros((1, 33, 32), np.float32), 1, 4, context)


def test_random_weights_are_drawn_as_published() -> None:
    encoder = mp.create(
        "ecg_dualnet", rngs=nnx.Rngs(0), features=(32, 32, 64, 64), time_span=18, num_windows=10
    )
    act = encoder.blocks[0].act1
    x = jnp.linspace(-3.0, 3.0, 31)
    np.testing.assert_allclose(act(x), jax.nn.leaky_relu(x, 0.01), atol=0.05)
    first, second = encoder.signal_branch.layers[:2]
    np.testing.assert_array_equal(first.qkv.kernel[...], second.qkv.kernel[...])
    relative = np.asarray(encoder.blocks[2].along_time.relative[...])
    assert 0.8 < relative.std() < 1.2
    final = jax.jit(lambda e, x: e.activations(x).final)(encoder, recipe.signal(0, (1, 1, 2300)))
    assert np.isfinite(final).all()
