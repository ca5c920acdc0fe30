"""Oracles: the definitions in NumPy float64, with whole Gram matrices."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxbridge.selection import cka
from jaxbridge.selection.cka import linear_cka, rbf_cka
from jaxbridge.selection.cka_streaming import CkaSums, MinibatchCka
from model_ports.errors import InputError


def biased_hsic(k, l):  # noqa: E741
    n = len(k)
    centre = np.eye(n) - 1 / n
    return np.sum((centre @ k @ centre) * (centre @ l @ centre))


def debiased_hsic(k, l):  # noqa: E741
    """Song et al. 2012, eq. 5, up to 1 / (n (n - 3))."""
    n, one = len(k), np.ones(len(k))
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    return (
        np.trace(k @ l)
        + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ l @ one)
    )


def linear_kernel(x):
    x = x.astype(np.float64)
    return x @ x.T


def rbf_kernel(x):
    x = x.astype(np.float64)
    distance = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    return np.exp(-distance / (2 * np.median(distance[np.triu_indices(len(x), 1)])))


def oracle(new, old, kernel, debiased):
    hsic = debiased_hsic if debiased else biased_hsic
    ks, ls = [kernel(x) for x in new], [kernel(y) for y in old]
    return np.array(
        [[hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)) for l in ls] for k in ks]  # noqa: E741
    )


def related(seed, new_layers, old_layers, windows, new_width, old_width, offset=0.0):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((windows, 3))
    def side(layers, width):
        mixed = common @ rng.standard_normal((layers, 3, width))
        return (mixed + rng.standard_normal(mixed.shape) + offset).astype(np.float32)
    return side(new_layers, new_width), side(old_layers, old_width)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize(
    ("windows", "new_width", "old_width"),
    [(4, 3, 5), (40, 300, 200), (330, 8, 12), (650, 100, 80)],
)
def test_linear_equals_the_definition(windows, new_width, old_width, debiased):
    new, old = related(0, 3, 2, windows, new_width, old_width, offset=5.0)
    expected = oracle(new, old, linear_kernel, debiased)
    np.testing.assert_allclose(linear_cka(new, old, debiased=debiased), expected, atol=1e-5)


@pytest.mark.parametrize("debiased", [False, True])
def test_both_spaces_agree_over_many_blocks(monkeypatch, debiased):
    monkeypatch.setattr(cka, "BLOCK", 48)
    cka._gram_space.clear_cache()
    new, old = related(1, 3, 4, 215, 20, 30)
    expected = oracle(new, old, linear_kernel, debiased)
    for space in (cka._gram_space, cka._feature_space):
        sums = space(new, old, cka._location(new), cka._location(old))
        found = cka._finish(sums, 215, debiased)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    cka._gram_space.clear_cache()


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("windows", [30, 650])
def test_rbf_equals_the_definition(windows, debiased):
    new, old = related(2, 2, 3, windows, 10, 6)
    expected = oracle(new, old, rbf_kernel, debiased)
    np.testing.assert_allclose(rbf_cka(new, old, debiased=debiased), expected, atol=1e-5)


@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([1, 12]),  # few shapes: each is compiled
    scale=st.sampled_from([1e-6, 0.3, 1e6]),
    score=st.sampled_from(
        [linear_cka, rbf_cka, lambda x, y: linear_cka(x, y, debiased=True)]
    ),
)
@settings(max_examples=30, deadline=None)
def test_invariances(seed, width, scale, score):
    """Orthogonal maps, a common scale, shifts and zero padding of one side change nothing."""
    new, old = related(seed % 1000, 1, 2, 24, width, 5)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((width, width)))
    moved = scale * (new @ rotation + rng.standard_normal(width))
    moved = np.pad(moved, ((0, 0), (0, 0), (0, 3))).astype(np.float32)
    np.testing.assert_allclose(score(moved, old), score(new, old), atol=2e-5)


def test_a_layer_is_alike_to_itself_only():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 400, 10)).astype(np.float32)
    table = linear_cka(x, x, debiased=True)
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-6)
    assert np.abs(table - np.diag(np.diag(table))).max() < 0.05


def test_bias_on_noise_is_shown_and_removed():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 6, 32, 64)).astype(np.float32)
    assert linear_cka(x, y).min() > 0.5
    assert abs(linear_cka(x, y, debiased=True).mean()) < 0.05


@pytest.mark.parametrize("score", [linear_cka, rbf_cka])
def test_bad_input(score):
    good = np.random.default_rng(0).standard_normal((2, 8, 3))
    constant = good.copy()
    constant[1] = 3.0
    with pytest.raises(InputError, match=r"old features: layers \[1\] are constant"):
        score(good, constant)
    with pytest.raises(InputError, match="3 windows; at least 4"):
        score(good[:, :3], good[:, :3])
    with pytest.raises(InputError, match="8 windows, old features 7"):
        score(good, good[:, :7])
    bad = good.copy()
    bad[0, 2, 1] = np.nan
    with pytest.raises(InputError, match="new features, layer 0: NaN"):
        score(bad, good)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    new, old = (jnp.asarray(side, dtype) for side in related(3, 2, 2, 80, 300, 200))
    for score in (linear_cka, rbf_cka, lambda x, y: CkaSums.start(x, y).add(x, y).cka(),
                  lambda x, y: MinibatchCka.start(x, y).add(x, y).cka()):  # fmt: skip
        expected = score(np.asarray(new, np.float32), np.asarray(old, np.float32))
        np.testing.assert_array_equal(score(new, old), expected)


def test_debiased_of_a_single_outlier_is_an_error_not_nan():
    x = np.zeros((1, 8, 1))
    x[0, 0] = 1.0
    good = np.random.default_rng(0).standard_normal((1, 8, 3))
    with pytest.raises(InputError, match=r"new features: layers \[0\] do not vary enough"):
        linear_cka(x, good, debiased=True)


def test_bandwidth_must_be_positive():
    with pytest.raises(InputError, match="positive"):
        rbf_cka(np.eye(5)[None], np.eye(5)[None], bandwidth=0.0)


@pytest.mark.parametrize("windows", [40, 400])  # feature space is cheaper for many windows
@pytest.mark.parametrize("function", [linear_cka, rbf_cka])
@pytest.mark.slow
def test_all_layers_at_once_as_on_an_accelerator(monkeypatch, function, windows):
    rng = np.random.default_rng(2)
    new = rng.standard_normal((3, windows, 60)).astype(np.float32)
    old = (new[:2, :, :50] + rng.standard_normal((2, windows, 50))).astype(np.float32)
    one_by_one = function(new, old)
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    at_once = function(new, old)
    jax.clear_caches()
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-5)
