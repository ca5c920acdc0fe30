"""Adapters start as nothing, keep the base, and fit every kind of encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbridge.bridge import num_parameters
from jaxbridge.methods.low_rank_adapter import AdaptedEncoder
from model_ports.errors import InputError
from tests.jaxbridge import tiny
from tests.jaxbridge.methods import toy_study


def _moved(adapted: AdaptedEncoder) -> None:
    for factors in adapted.factors:
        factors.b.set_value(jnp.full(factors.b.shape, 0.5))


def test_the_update_is_the_product_and_the_base_stays():
    base = toy_study.encoders()[1]
    before, signal = toy_study.leaves(base), jnp.asarray(toy_study.windows().read("new", np.arange(4)))
    adapted = AdaptedEncoder(base, 2, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(adapted(signal), base(signal))
    _moved(adapted)
    merged = adapted.merged()
    kernel = base.linears[1].kernel[...] + adapted.factors[1].a[...] @ adapted.factors[1].b[...]
    np.testing.assert_allclose(merged.linears[1].kernel[...], kernel, rtol=1e-6)
    assert not np.allclose(merged(signal), base(signal))
    np.testing.assert_array_equal(merged(signal), adapted(signal))
    for path, value in toy_study.leaves(adapted.base).items():
        np.testing.assert_array_equal(value, before[path])


def test_a_published_encoders_matrices_are_adapted():
    """HuBERT-ECG: attention, MLP and convolutions."""
    base = tiny.encoders()[1]
    # One program each, in place of one per shape.
    adapted = jax.jit(lambda base: AdaptedEncoder(base, 3, rngs=nnx.Rngs(0)))(base)
    names = {".".join(map(str, path)) for path in adapted.paths}
    assert any("attention" in n for n in names) and any("conv" in n for n in names)
    before = toy_study.leaves(base)
    wanted = sum(
        3 * (value.size // value.shape[-1] + value.shape[-1])
        for path, value in before.items() if path in names
    )
    assert num_parameters(adapted.factors) == wanted
    _moved(adapted)
    after = toy_study.leaves(jax.jit(AdaptedEncoder.merged)(adapted))
    assert {p for p in before if not np.array_equal(before[p], after[p])} == names


def test_refusals():
    base = toy_study.encoders()[1]
    with pytest.raises(InputError, match="at least 1"):
        AdaptedEncoder(base, 0, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="exceeds rank 50"):
        AdaptedEncoder(base, 50, rngs=nnx.Rngs(0))
