"""HuBERT-ECG against what the PyTorch original computes."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from tests import recipe
from tests.golden import Golden, layer_errors, relative_error

SIZES = ("hubert_ecg_small", "hubert_ecg_base", "hubert_ecg_large")
# 188 million numbers take their time
_MARKED = (*SIZES[:2], pytest.param(SIZES[2], marks=pytest.mark.slow))
_TORCH = pathlib.Path(__file__).parents[1] / "data" / "torch"
_TINY = {
    "depth": 2, "features": 32, "num_heads": 4, "mlp_features": 48, "position_groups": 4,
    "conv_channels": (16,) * 5, "position_kernel": 8,
}


@pytest.fixture(scope="module")
def tiny() -> mp.Encoder:
    return mp.create("hubert_ecg_small", rngs=nnx.Rngs(0), **_TINY)


@pytest.mark.parametrize("name", _MARKED)
def test_agrees_with_the_original(name):
    golden = Golden(name)
    encoder = mp.from_state_dict(name, golden.state_dict())
    errors = layer_errors(encoder, golden)
    worst = max(errors, key=errors.get)
    print(f"{name}: {len(errors)} arrays, largest relative error {errors[worst]:.2e} ({worst})")
    assert errors[worst] < 1e-5


@pytest.mark.parametrize("name", _MARKED)
@pytest.mark.slow
def test_other_weights_and_length_agree_with_the_original(name):
    """Values of transformers' HubertModel, weights of salt "other ", signal(7, (3, 1237))."""
    golden = Golden(name)
    encoder = mp.from_state_dict(name, golden.state_dict("other "))
    found = jax.jit(lambda e, x: e.activations(x))(encoder, recipe.signal(7, (3, 1237)))
    with np.load(_TORCH / f"{name}_1237.npz") as file:
        means = file["means"]
    ours = [found.inputs[0], *found.outputs]
    errors = [
        relative_error(a[:, : m.shape[-1]], m) for a, m in zip(ours, means, strict=True)
    ]
    print(f"{name}, 1237 samples: largest relative error {max(errors):.2e}")
    assert max(errors) < 1e-5


def test_running_layers_one_by_one_is_the_encoder(tiny):
    x = recipe.signal(2, (2, 900))
    tokens = tiny.embed(x)
    for i in range(tiny.num_layers):
        assert tiny.layer_shape(i, x.shape) == tokens.shape[1:]
        tokens = tiny.run(tokens, i, i + 1)
    np.testing.assert_array_equal(tokens, tiny(x))
    assert tiny.layer_shape(tiny.num_layers, x.shape) == tokens.shape[1:]


@pytest.mark.parametrize(("samples", "tokens"), [(400, 5), (3000, 46), (6000, 93)])
def test_number_of_tokens(tiny, samples, tokens):
    assert tiny.layer_shape(0, (1, samples)) == (tokens, 32)


def test_shortest_signal(tiny):
    shortest = tiny.config.min_samples
    assert tiny(jnp.ones((1, shortest))).shape == (1, 1, 32)
    with pytest.raises(mp.InputError, match=f"at least {shortest} samples"):
        tiny(jnp.ones((1, shortest - 1)))
    with pytest.raises(mp.InputError, match=r"shape \(batch, samples\)"):
        tiny(jnp.ones((1, 1, 3000)))


def test_gradient_through_run_is_the_slope(tiny):
    tokens = tiny.embed(recipe.signal(3, (2, 900)))
    weight = recipe.signal(4, tokens.shape)

    @jax.jit
    def loss(tokens):
        return jnp.sum(tiny.run(tokens, 1, 2) * weight)

    direction = np.zeros(tokens.shape, np.float32)
    direction[:, :2, :5] = weight[:, :2, :5]
    slope = (loss(tokens + 5e-3 * direction) - loss(tokens - 5e-3 * direction)) / 1e-2
    assert slope > 1
    np.testing.assert_allclose(jnp.vdot(jax.grad(loss)(tokens), direction), slope, rtol=1e-2)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.slow
def test_bfloat16_stays_close(name):
    golden = Golden(name)
    x = golden.signal()[:, :1500]
    state_dict = golden.state_dict()
    exact, coarse = (
        np.asarray(mp.from_state_dict(name, state_dict, dtype=dtype)(x), np.float32)
        for dtype in ("float32", "bfloat16")
    )
    error = relative_error(coarse, exact)
    print(f"{name} in bfloat16: relative error {error:.1e}")
    assert 1e-6 < error < 5e-2


def test_saved_and_loaded_bit_equal(tiny, tmp_path):
    mp.save(tiny, tmp_path / "encoder")
    again = mp.load(tmp_path / "encoder")
    assert again.config == tiny.config
    assert mp.weights_hash(again) == mp.weights_hash(tiny)


@pytest.mark.parametrize("asked", ["hubert_ecg_small", "hubert_ecg_large"])
def test_another_size_is_refused_by_name(asked):
    base = {
        name: np.broadcast_to(np.float32(1), shape)
        for name, shape in Golden("hubert_ecg_base").manifest["state_dict"].items()
    }
    with pytest.raises(mp.InputError, match=f"it is hubert_ecg_base, not {asked}"):
        mp.from_state_dict(asked, base)


def test_wrong_entries_are_refused_by_name():
    state_dict = Golden("hubert_ecg_small").state_dict()
    del state_dict["encoder.layers.7.attention.q_proj.bias"]
    state_dict["encoder.layer_norm.weight"] = np.ones(511, np.float32)
    state_dict["encoder.layers.8.extra"] = np.ones(3, np.float32)
    with pytest.raises(mp.InputError) as error:
        mp.from_state_dict("hubert_ecg_small", state_dict)
    for part in (
        "missing: encoder.layers.7.attention.q_proj.bias (512,)",
        "mis-shaped: encoder.layer_norm.weight is (511,), must be (512,)",
        "unexpected: encoder.layers.8.extra (3,)",
    ):
        assert part in str(error.value)


def test_both_spellings_of_weight_norm():
    golden = Golden("hubert_ecg_small")
    new = golden.state_dict()
    conv = "encoder.pos_conv_embed.conv"
    old = {
        name.replace(f"{conv}.parametrizations.weight.original0", f"{conv}.weight_g").replace(
            f"{conv}.parametrizations.weight.original1", f"{conv}.weight_v"
        ): array
        for name, array in new.items()
    }
    assert set(old) != set(new)
    hashes = {mp.weights_hash(mp.from_state_dict("hubert_ecg_small", d)) for d in (new, old)}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", SIZES)
def test_every_published_parameter_is_used(name):
    manifest = Golden(name).manifest
    shapes = nnx.state(nnx.eval_shape(lambda: mp.create(name, rngs=nnx.Rngs(0))))
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    # the gains of the weight norm, one per tap, are folded into the kernel
    assert ours == manifest["num_parameters_used_by_the_encoder"] - 128
