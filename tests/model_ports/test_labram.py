"""LaBraM equals its PyTorch original in both published layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from model_ports.electrodes import LABRAM_ELECTRODES, labram_position_rows
from tests.golden import Golden, layer_errors, relative_error

_LEADS = ("F3", "C3", "O1", "F4", "C4", "O2")


@pytest.fixture(scope="module")
def published() -> mp.Encoder:
    return mp.from_state_dict("labram", Golden("labram_published").state_dict(), leads=_LEADS)


@pytest.mark.parametrize(
    ("folder", "overrides"), [("labram", {}), ("labram_published", {"leads": _LEADS})]
)
def test_every_layer_equals_the_original(folder, overrides):
    golden = Golden(folder)
    encoder = mp.from_state_dict("labram", golden.state_dict(), **overrides)
    errors = layer_errors(encoder, golden)
    worst = max(errors, key=errors.get)
    print(f"{folder}: largest relative error {errors[worst]:.1e} ({worst})")
    assert errors[worst] < 1e-5


def test_position_rows_are_those_of_the_golden():
    rows = Golden("labram_published").manifest["input"]["input_chans"]
    assert [0, *labram_position_rows(_LEADS)] == rows
    assert len(LABRAM_ELECTRODES) == len(set(LABRAM_ELECTRODES)) == 128


def test_lead_names_are_matched_without_case_and_unknown_ones_refused():
    assert labram_position_rows(("fp1", "Cz")) == labram_position_rows(("FP1", "CZ"))
    with pytest.raises(mp.InputError, match="no position for lead XY"):
        mp.create("labram", rngs=nnx.Rngs(0), leads=("F3", "XY"))


def test_order_of_leads_follows_the_names(published):
    """With a table, leads and their names may be permuted together, but not apart."""
    state = Golden("labram_published").state_dict()
    order = [3, 0, 5, 1, 4, 2]
    other = mp.from_state_dict("labram", state, leads=tuple(_LEADS[i] for i in order))
    x = Golden("labram_published").signal()[:1, :, :4]
    final = jax.jit(lambda e, x: e.activations(x).final)
    straight = final(published, x)
    assert relative_error(final(other, x[:, order]), np.asarray(straight)) < 1e-5
    assert relative_error(final(published, x[:, order]), np.asarray(straight)) > 1e-4


def test_without_table_leads_are_interchangeable():
    encoder = mp.create("labram", rngs=nnx.Rngs(0), depth=2)
    x = np.random.default_rng(0).standard_normal((1, 3, 2, 200)).astype(np.float32)
    out, permuted = encoder(x), encoder(x[:, [2, 0, 1]])
    assert relative_error(permuted[:, 1:3], np.asarray(out[:, 5:7])) < 1e-5


def test_longer_windows_stretch_the_time_table():
    encoder = mp.create("labram", rngs=nnx.Rngs(0), depth=1, time_rows=3)
    table = np.asarray(encoder.time_embed[0])
    x = np.zeros((1, 1, 5, 200), np.float32)  # equal patches: tokens differ by their row only
    tokens = np.asarray(encoder.embed(x))[0, 1:]
    rows = np.stack([table[0], (table[0] + table[1]) / 2, table[1], (table[1] + table[2]) / 2,
                     table[2]])
    np.testing.assert_allclose(tokens - tokens[0], rows - rows[0], atol=1e-6)
    short = np.asarray(encoder.embed(x[:, :, :2]))[0, 1:]
    np.testing.assert_allclose(short[1] - short[0], table[1] - table[0], atol=1e-6)


def test_run_composes_and_shapes_are_told(published):
    x = Golden("labram_published").signal()[:, :, :2]
    whole = published(x)
    tokens = published.embed(x)
    split = published.run(published.run(tokens, 0, 5), 5, 12)
    np.testing.assert_allclose(split, whole, rtol=1e-5, atol=1e-5)
    assert published.layer_shape(0, x.shape) == tokens.shape[1:]
    assert published.layer_shape(12, x.shape) == whole.shape[1:]
    with pytest.raises(mp.InputError, match="layers 3 to 13 do not exist"):
        published.run(tokens, 3, 13)


def test_gradient_through_a_suffix_equals_finite_differences(published):
    tokens = np.random.default_rng(0).standard_normal((1, 5, 200)).astype(np.float32)
    direction = np.random.default_rng(1).standard_normal(tokens.shape).astype(np.float32)

    @jax.jit
    def f(t):
        return jnp.sin(published.run(t, 9, 12)).mean()

    slope = float(jnp.vdot(jax.grad(f)(tokens), direction))
    step = 1e-2
    numeric = (float(f(tokens + step * direction)) - float(f(tokens - step * direction))) / step / 2
    assert slope == pytest.approx(numeric, rel=2e-2, abs=1e-5)


def test_bfloat16_compute(published):
    x = Golden("labram_published").signal()[:, :, :4]
    low = mp.from_state_dict(
        "labram", Golden("labram_published").state_dict(), leads=_LEADS, dtype="bfloat16"
    )
    assert low(x).dtype == jnp.bfloat16
    assert low.blocks[0].attn.qkv.kernel[...].dtype == jnp.float32
    final = jax.jit(lambda e, x: e.activations(x).final)
    error = relative_error(final(low, x), np.asarray(final(published, x)))
    print(f"labram: bfloat16 against float32 {error:.1e}")
    assert 1e-5 < error < 5e-2


@pytest.mark.parametrize("shape", [(2, 6, 200), (1, 5, 4, 200), (1, 6, 4, 199)])
def test_other_signal_shapes_are_refused(published, shape):
    with pytest.raises(mp.InputError, match=r"LaBraM takes a signal of shape \(batch, 6, seconds"):
        published(np.zeros(shape, np.float32))
    with pytest.raises(mp.InputError, match="at least one second"):
        published(np.zeros((1, 6, 0, 200), np.float32))


def test_table_and_lead_names_must_come_together():
    with pytest.raises(mp.InputError, match="pass leads="):
        mp.from_state_dict("labram", Golden("labram_published").state_dict())
    with pytest.raises(mp.InputError, match="leave leads out"):
        mp.from_state_dict("labram", Golden("labram").state_dict(), leads=_LEADS)


def test_no_leads_at_all_are_refused():
    with pytest.raises(mp.InputError, match="leads is empty"):
        mp.create("labram", rngs=nnx.Rngs(0), depth=1, leads=())


def test_random_weights_follow_the_published_initialisation():
    encoder = mp.create("labram", rngs=nnx.Rngs(0), leads=_LEADS)
    assert np.asarray(encoder.blocks[3].mlp.fc1.kernel[...]).std() == pytest.approx(0.02, rel=0.02)
    assert np.asarray(encoder.blocks[7].mlp.fc2.kernel[...]).std() == pytest.approx(
        0.02 / 4, rel=0.02
    )
    assert np.all(encoder.blocks[0].gamma_1[...] == np.float32(0.1))
    conv = encoder.patch_embed.conv2
    assert np.abs(conv.kernel[...]).max() <= 1 / np.sqrt(24)
    assert np.abs(conv.bias[...]).max() <= 1 / np.sqrt(24)
    again = mp.create("labram", rngs=nnx.Rngs(0), leads=_LEADS)
    assert mp.weights_hash(encoder) == mp.weights_hash(again)
