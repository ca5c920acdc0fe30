import jax
import numpy as np
import pytest

from jaxbridge.selection.cka import linear_cka
from jaxbridge.selection.cka_streaming import CkaSums, MinibatchCka
from model_ports.errors import InputError


def related(seed, windows, widths=(6, 9), offset=30.0):
    """Two new and three old layers with common parts; the mean drifts over the windows."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((windows, 3)) + np.linspace(0, 3, windows)[:, None]
    return tuple(
        (
            common @ rng.standard_normal((layers, 3, width))
            + rng.standard_normal((layers, windows, width))
            + offset
        ).astype(np.float32)
        for layers, width in zip((2, 3), widths, strict=True)
    )


def batches(new, old, sizes):
    edges = np.cumsum([0, *sizes])
    assert edges[-1] == new.shape[1]
    return [(new[:, a:b], old[:, a:b]) for a, b in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("debiased", [False, True])
def test_sums_equal_the_whole_however_cut_and_merged(debiased):
    new, old = related(0, 300)
    cut = batches(new, old, [40, 1, 3, 100, 156])
    left, right = CkaSums.start(*cut[0]), CkaSums.start(*cut[0])
    for batch in cut[:2]:
        left = left.add(*batch)
    for batch in cut[2:]:
        right = right.add(*batch)
    expected = linear_cka(new.astype(np.float64), old, debiased=debiased)
    np.testing.assert_allclose(left.merge(right).cka(debiased=debiased), expected, atol=1e-5)
    np.testing.assert_allclose(right.merge(left).cka(debiased=debiased), expected, atol=1e-5)


def test_sums_are_a_pytree_of_constant_size():
    new, old = related(1, 64)
    sums = CkaSums.start(new, old)
    size = sum(a.size for a in jax.tree.leaves(sums))
    for _ in range(3):
        sums = sums.add(new, old)
    assert sum(a.size for a in jax.tree.leaves(sums)) == size
    np.testing.assert_allclose(sums.cka(), linear_cka(new, old), atol=1e-5)  # copies change nothing


def test_minibatches_estimate_the_debiased_value():
    rng = np.random.default_rng(2)
    new, old = related(2, 4000)
    order = rng.permutation(4000)
    new, old = new[:, order], old[:, order]
    first, second = MinibatchCka.start(new[:, :50], old[:, :50]), None
    second = first
    for number, batch in enumerate(batches(new, old, [50] * 80)):
        if number % 2:
            first = first.add(*batch)
        else:
            second = second.add(*batch)
    expected = linear_cka(new, old, debiased=True)
    np.testing.assert_allclose(first.merge(second).cka(), expected, atol=0.02)
    # One batch of everything is the debiased value itself.
    once = MinibatchCka.start(new[:, :50], old[:, :50]).add(new, old)
    np.testing.assert_allclose(once.cka(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [CkaSums, MinibatchCka])
def test_bad_input(kind):
    new, old = related(3, 20)
    empty = kind.start(new, old)
    with pytest.raises(InputError, match="2 layers of width 6"):
        empty.add(new[:, :, :5], old)
    with pytest.raises(InputError, match="20 windows, old features 19"):
        empty.add(new, old[:, :19])
    with pytest.raises(InputError, match="new features, layer 1: NaN"):
        empty.add(np.where(np.arange(2)[:, None, None] == 1, np.nan, new), old)
    with pytest.raises(InputError, match="different batches"):
        empty.merge(kind.start(new[:, :10], old[:, :10]))
    with pytest.raises(InputError, match="constant"):
        kind.start(np.ones_like(new), old)
    with pytest.raises(InputError):
        empty.cka()


def test_a_small_minibatch_is_refused():
    new, old = related(4, 20)
    with pytest.raises(InputError, match="3 windows; debiased HSIC needs at least 4"):
        MinibatchCka.start(new, old).add(new[:, :3], old[:, :3])
