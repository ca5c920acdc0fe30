"""ECG-FM against what the PyTorch original computes."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from tests import recipe
from tests.golden import Golden, layer_errors, relative_error

_TORCH = pathlib.Path(__file__).parents[1] / "data" / "torch"
_TINY = {
    "depth": 2, "features": 32, "num_heads": 4, "mlp_features": 48, "position_groups": 4,
    "conv_channels": (16,) * 4, "position_kernel": 8,
}
NORM_FIRST = pytest.mark.parametrize("norm_first", [False, True])


def _tiny(norm_first: bool) -> mp.Encoder:
    return mp.create("ecg_fm", rngs=nnx.Rngs(0), layer_norm_first=norm_first, **_TINY)


@pytest.mark.parametrize(
    ("folder", "norm_first"),
    [pytest.param("ecg_fm", False, marks=pytest.mark.slow), ("ecg_fm_prenorm", True)],
)
def test_agrees_with_the_original(folder, norm_first):
    golden = Golden(folder)
    encoder = mp.from_state_dict("ecg_fm", golden.state_dict(), layer_norm_first=norm_first)
    # the original's layers are time first: so are the tokens that its suffixes were fed
    suffix_inputs = {
        start: recipe.signal(1, tuple(golden.manifest["layer_input_shape"])).transpose(1, 0, 2)
        for start in golden.manifest["suffix_layers"]
    }
    errors = layer_errors(encoder, golden, suffix_inputs)
    worst = max(errors, key=errors.get)
    print(f"{folder}: {len(errors)} arrays, largest relative error {errors[worst]:.2e} ({worst})")
    assert errors[worst] < 1e-5


@NORM_FIRST
@pytest.mark.parametrize("leads", [12, 2])
@pytest.mark.slow
def test_other_weights_lengths_and_leads_agree_with_the_original(leads, norm_first):
    """Values of fairseq-signals' Wav2Vec2CMSCModel, mask off, at two other shapes.

    12 leads: weights of salt "other ", signal(7, (3, 12, 777)). 2 leads: a model whose stem
    reads two, weights of salt "two leads ", signal(8, (1, 2, 400)).
    """
    golden = Golden("ecg_fm")
    overrides = {"layer_norm_first": norm_first}
    if leads == 2:
        golden.manifest["state_dict"]["feature_extractor.conv_layers.0.0.weight"] = [256, 2, 2]
        overrides["leads"] = ("I", "II")
        salt, signal, prefix = "two leads ", recipe.signal(8, (1, 2, 400)), "two_leads_"
    else:
        salt, signal, prefix = "other ", recipe.signal(7, (3, 12, 777)), ""
    encoder = mp.from_state_dict("ecg_fm", golden.state_dict(salt), **overrides)
    found = jax.jit(lambda e, x: e.activations(x))(encoder, signal)
    with np.load(_TORCH / f"ecg_fm_{'prenorm' if norm_first else 'postnorm'}.npz") as file:
        means, final = file[f"{prefix}means"], file[f"{prefix}final"]
    ours = [found.inputs[0], *found.outputs]
    errors = [
        relative_error(a[:, : m.shape[-1]], m) for a, m in zip(ours, means, strict=True)
    ]
    errors.append(relative_error(found.final, final))
    print(f"ecg_fm, {signal.shape}, norm_first {norm_first}: {max(errors):.2e}")
    assert max(errors) < 1e-5


@NORM_FIRST
def test_running_layers_one_by_one_is_the_encoder(norm_first):
    encoder, x = _tiny(norm_first), recipe.signal(2, (2, 12, 500))
    tokens = encoder.embed(x)
    for i in range(encoder.num_layers):
        assert encoder.layer_shape(i, x.shape) == tokens.shape[1:]
        tokens = encoder.run(tokens, i, i + 1)
    np.testing.assert_array_equal(tokens, encoder(x))


@pytest.mark.parametrize(("samples", "tokens"), [(2500, 156), (15000, 937), (30000, 1875)])
def test_number_of_tokens(samples, tokens):
    assert _tiny(False).layer_shape(0, (1, 12, samples)) == (tokens, 32)


def test_shortest_signal():
    encoder = _tiny(False)
    assert encoder(jnp.ones((1, 12, 16))).shape == (1, 1, 32)
    with pytest.raises(mp.InputError, match="at least 16 samples"):
        encoder(jnp.ones((1, 12, 15)))
    with pytest.raises(mp.InputError, match=r"shape \(batch, 12, samples\)"):
        encoder(jnp.ones((1, 1, 2500)))


@NORM_FIRST
def test_gradient_through_run_is_the_slope(norm_first):
    encoder = _tiny(norm_first)
    tokens = encoder.embed(recipe.signal(3, (2, 12, 200)))
    weight = recipe.signal(4, tokens.shape)

    @jax.jit
    def loss(tokens):
        return jnp.sum(encoder.run(tokens, 1, 2) * weight)

    direction = np.zeros(tokens.shape, np.float32)
    direction[:, :2, :5] = weight[:, :2, :5]
    slope = (loss(tokens + 5e-3 * direction) - loss(tokens - 5e-3 * direction)) / 1e-2
    assert slope > 1
    np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(tokens), direction), slope, rtol=1e-2)


@NORM_FIRST
@pytest.mark.slow
def test_bfloat16_stays_close(norm_first):
    golden = Golden("ecg_fm")
    x, state_dict = golden.signal()[:, :, :1500], golden.state_dict()
    exact, coarse = (
        np.asarray(
            mp.from_state_dict("ecg_fm", state_dict, layer_norm_first=norm_first, dtype=dtype)(x),
            np.float32,
        )
        for dtype in ("float32", "bfloat16")
    )
    error = relative_error(coarse, exact)
    print(f"ecg_fm in bfloat16, norm_first {norm_first}: relative error {error:.1e}")
    assert 1e-6 < error < 5e-2


def test_saved_and_loaded_bit_equal(tmp_path):
    encoder = _tiny(True)
    mp.save(encoder, tmp_path / "encoder")
    again = mp.load(tmp_path / "encoder")
    assert again.config == encoder.config
    assert mp.weights_hash(again) == mp.weights_hash(encoder)


def test_wrong_entries_are_refused_by_name():
    state_dict = {
        name: np.broadcast_to(np.float32(1), shape)
        for name, shape in Golden("ecg_fm").manifest["state_dict"].items()
    }
    del state_dict["encoder.layers.11.fc1.bias"]
    state_dict["feature_extractor.conv_layers.0.0.weight"] = np.zeros((256, 1, 2), np.float32)
    state_dict["encoder.layers.12.fc1.bias"] = np.ones(3, np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("ecg_fm", state_dict)
    for part in (
        "missing: encoder.layers.11.fc1.bias (3072,)",
        "mis-shaped: feature_extractor.conv_layers.0.0.weight is (256, 1, 2), must be (256, 12, 2)",
        "unexpected: encoder.layers.12.fc1.bias (3,)",
    ):
        assert part in str(error.value)


def test_every_published_parameter_is_used():
    shapes = nnx.state(nnx.eval_shape(lambda: mp.create("ecg_fm", rngs=nnx.Rngs(0))))
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # the gains of the weight norm, one per tap, are folded into the kernel
    used = Golden("ecg_fm").manifest["num_parameters_used_by_the_encoder"]
    assert ours == used - 128


def test_random_weights_are_drawn_as_published():
    encoder = mp.create("ecg_fm", rngs=nnx.Rngs(0), depth=1)
    layer = encoder.layers[0]
    for linear in (layer.attention.query, layer.attention.out, layer.mlp_in, layer.mlp_out):
        assert np.std(linear.kernel[...]) == pytest.approx(0.02, rel=0.01)
        assert not np.any(linear.bias[...])
    # PyTorch's default for the projection: uniform within 1/sqrt(256)
    for part in (encoder.projection.kernel[...], encoder.projection.bias[...]):
        assert 0.9 / 16 < np.abs(part).max() <= 1 / 16
    expected = np.sqrt(4 / (128 * 768))
    assert np.std(encoder.position_conv.kernel[...]) == pytest.approx(expected, rel=0.01)
    stem = encoder.feature_extractor.convs[1].kernel[...]
    assert np.std(stem) == pytest.approx(np.sqrt(2 / (2 * 256)), rel=0.02)


def test_no_lead_names_are_refused():
    with pytest.raises(mp.InputError, match="needs lead names"):
        mp.create("ecg_fm", rngs=nnx.Rngs(0), leads=None)
