"""Centred kernel alignment (CKA) of every new layer with every old layer.

With centred Gram matrices K and L of the same n windows (Kornblith et al. 2019, arXiv 1905.00414)

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),

biased HSIC = sum(K * L), debiased HSIC the U-statistic of Song et al. 2012 (eq. 5). The biased
value grows as the sample shrinks (0.2 on noise with 32 windows), hence the debiased one beside it.

Three sums per pair give both: sum(K * L), and products of K's and L's row sums and diagonals. The
first is summed over blocks of window pairs i <= j (Gram space), so that no (n, n) matrix is held,
or is the squared norm of the cross-covariance (feature space), whichever multiplies less.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from jaxbridge.features import checks as feature_checks
from model_ports.errors import InputError

BLOCK = 320  # windows on a side of a Gram block; measured on 2 cores, larger is slower


def linear_cka(new: ArrayLike, old: ArrayLike, *, debiased: bool = False) -> np.ndarray:
    """Linear CKA of all (new, old) pairs of layers in one compiled call.

    Args:
        new: (new layers, windows, width), zero-padded where layers differ in width.
        old: (old layers, windows, width), of the same windows.
        debiased: the debiased estimate, around 0 for unrelated layers.

    Returns:
        (new layers, old layers) float64.

    Raises:
        InputError: see `jaxbridge.features.checks.check`; different window counts; a constant layer.
    """
    _check(new, old)
    new, old = _on_device(new), _on_device(old)
    sums = _linear_sums(new, old, _location(new), _location(old))
    return _finish(sums, new.shape[1], debiased)


def rbf_cka(
    new: ArrayLike, old: ArrayLike, *, bandwidth: float = 1.0, debiased: bool = False
) -> np.ndarray:
    """CKA with the Gaussian kernel exp(-||x - y||^2 / (2 s^2)) for all pairs of layers.

    Args:
        new: (new layers, windows, width).
        old: (old layers, windows, width), of the same windows.
        bandwidth: s in units of each layer's median distance between windows (at most 1,000
            windows, evenly spaced, are looked at for the median).
        debiased: the debiased estimate.

    Returns:
        (new layers, old layers) float64.

    Raises:
        InputError: as `linear_cka`; a bandwidth that is not positive.
    """
    if not bandwidth > 0:
        raise InputError(f"bandwidth is {bandwidth}; it must be positive")
    _check(new, old)
    new, old = _on_device(new), _on_device(old)
    sums = _gram_space(
        new, old, _location(new), _location(old), jnp.float32(bandwidth), gaussian=True
    )
    return _finish(sums, new.shape[1], debiased)


def _on_device(features: ArrayLike) -> jax.Array:
    # Half precision holds neither the sums nor, as float16, their size; float64 stays where it is on.
    if not isinstance(features, jax.Array):
        # Waiting for one copy before the next begins saves an eighth of the peak.
        features = jax.block_until_ready(jax.device_put(np.asarray(features)))
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))


def _check(new: ArrayLike, old: ArrayLike) -> None:
    for name, side in (("new features", new), ("old features", old)):
        feature_checks.check(side, name=name)
    feature_checks.check_pairs(new, old)
    for name, side in (("new features", new), ("old features", old)):
        feature_checks.check_not_constant(side, name=name)


def _finish(sums, n: int, debiased: bool) -> np.ndarray:
    sums = jax.tree.map(lambda a: np.asarray(a, np.float64), jax.device_get(sums))
    hsic = [_hsic(*pair, n, debiased) for pair in sums]
    return _align(*hsic)


def _align(cross: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    for name, own in (("new", new), ("old", old)):
        bad = np.flatnonzero(~(own > 0))
        if len(bad):
            raise InputError(
                f"{name} features: layers {bad.tolist()} do not vary enough over the windows for "
                "CKA; use more windows or leave these layers out"
            )
    return cross / np.sqrt(new[:, None] * old[None, :])


def _hsic(product, rows, diagonals, row_diagonals, totals, traces, n, debiased):
    """HSIC from sums over Gram matrices, up to a factor that CKA drops.

    Args:
        product: sum of K * L.
        rows: product of row sums of K and L, summed over rows.
        diagonals: the same of the diagonals.
        row_diagonals: row sums of K times diagonal of L, and the reverse, added.
        totals: sum of K times sum of L.
        traces: (trace K) (trace L), and (sum K)(trace L) + (trace K)(sum L).
    """
    if not debiased:
        return product - 2 / n * rows + totals / n**2
    both, mixed = traces
    # With zero diagonals: row sums r - d, total s - t.
    product = product - diagonals
    rows = rows - row_diagonals + diagonals
    totals = totals - mixed + both
    return product + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows


class Location(NamedTuple):
    """What is subtracted from and divided out of features: one number per feature and layer.

    CKA depends on neither, float32 does. Applied where features are used, not to a copy of them.
    """

    mean: jax.Array  # (layers, 1, width)
    scale: jax.Array  # (layers, 1, 1)

    def apply(self, features: jax.Array) -> jax.Array:
        return (features - self.mean) / self.scale


def _over_layers(function, layers):
    """Vmapped over layers; on a CPU one after another, so that each stays in the cache."""
    on_cpu = jax.default_backend() == "cpu"
    return lax.map(function, layers) if on_cpu else jax.vmap(function)(layers)


@jax.jit
def _location(features: jax.Array) -> Location:
    def one(layer):
        mean = jnp.mean(layer, axis=0, keepdims=True)
        return Location(mean, jnp.sqrt(jnp.mean((layer - mean) ** 2, keepdims=True)))

    return _over_layers(one, features)


def _linear_sums(new: jax.Array, old: jax.Array, at_new: Location, at_old: Location):
    """In the space with fewer multiplications."""
    (m, n, d), (l, _, e) = new.shape, old.shape  # noqa: E741
    gram_cost = n * (m * d + l * e) / 2
    feature_cost = m * l * d * e + m * d * d + l * e * e
    space = _gram_space if gram_cost < feature_cost else _feature_space
    return space(new, old, at_new, at_old)


def _einsum(expression: str, *operands: jax.Array) -> jax.Array:
    return jnp.einsum(expression, *operands, precision=lax.Precision.HIGHEST)


def _vector_sums(product, row_k, row_l, diagonal_k, diagonal_l, pairs):
    """All sums of `_hsic` from the product and per-window row sums and diagonals.

    `pairs` is "mn,ln->ml" for all pairs of layers, "mn,mn->m" for each layer with itself.
    """
    outer = pairs.replace("n", "")
    total_k, total_l = jnp.sum(row_k, axis=1), jnp.sum(row_l, axis=1)
    trace_k, trace_l = jnp.sum(diagonal_k, axis=1), jnp.sum(diagonal_l, axis=1)
    return (
        product,
        _einsum(pairs, row_k, row_l),
        _einsum(pairs, diagonal_k, diagonal_l),
        _einsum(pairs, row_k, diagonal_l) + _einsum(pairs, diagonal_k, row_l),
        _einsum(outer, total_k, total_l),
        (
            _einsum(outer, trace_k, trace_l),
            _einsum(outer, total_k, trace_l) + _einsum(outer, trace_k, total_l),
        ),
    )


ALL_PAIRS, SELF = "mn,ln->ml", "mn,mn->m"


def _squares(features: jax.Array, at: Location) -> jax.Array:
    """Squared norm of every centred window, (layers, windows)."""
    return _over_layers(lambda x: jnp.sum(x[1].apply(x[0]) ** 2, axis=1), (features, at))


@jax.jit
def _feature_space(new: jax.Array, old: jax.Array, at_new: Location, at_old: Location):
    """Sums of `_hsic` for (new, old), (new, itself), (old, itself)."""

    def norm(x, y):  # sum(K * L) = ||X^T Y||^2
        return jnp.sum(_einsum("nd,ne->de", x[1].apply(x[0]), y[1].apply(y[0])) ** 2)

    new_side, old_side = (new, at_new), (old, at_old)
    with_old = _over_layers(lambda x: _over_layers(lambda y: norm(x, y), old_side), new_side)
    self_new, self_old = (_over_layers(lambda x: norm(x, x), side) for side in (new_side, old_side))
    # Centred features: all row sums of the Gram matrices are zero.
    diagonal_k, diagonal_l = _squares(new, at_new), _squares(old, at_old)
    zero_k, zero_l = jnp.zeros_like(diagonal_k), jnp.zeros_like(diagonal_l)
    return (
        _vector_sums(with_old, zero_k, zero_l, diagonal_k, diagonal_l, ALL_PAIRS),
        _vector_sums(self_new, zero_k, zero_k, diagonal_k, diagonal_k, SELF),
        _vector_sums(self_old, zero_l, zero_l, diagonal_l, diagonal_l, SELF),
    )


@functools.partial(jax.jit, static_argnames="gaussian")
def _gram_space(
    new: jax.Array,
    old: jax.Array,
    at_new: Location,
    at_old: Location,
    bandwidth=None,
    *,
    gaussian: bool = False,
):
    """The same sums from blocks of Gram matrices, of window pairs i <= j."""
    n = new.shape[1]
    block = min(BLOCK, n)
    blocks = -(-n // block)
    sides = (new, at_new), (old, at_old)
    scales = [_median_square(*side) * bandwidth**2 if gaussian else None for side in sides]
    # A constant added to all of K changes no HSIC; without the value at the median distance the
    # sums cancel less.
    typical = jnp.exp(-0.5 / bandwidth**2) if gaussian else 0.0

    def gram(side, scale, i, j):
        """Block (i, j) of all layers' Gram matrices, without windows that earlier blocks had."""
        starts = [jnp.minimum(index * block, n - block) for index in (i, j)]
        rows, columns = (
            start + jnp.arange(block) >= index * block
            for start, index in zip(starts, (i, j), strict=True)
        )

        def one(layer):
            features, at, square_scale = layer
            a, b = (
                at.apply(lax.dynamic_slice_in_dim(features, start, block)) for start in starts
            )
            k = _einsum("ad,bd->ab", a, b)
            if gaussian:
                square = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1) - 2 * k
                k = jnp.exp(-jnp.maximum(square, 0) / (2 * square_scale)) - typical
            return jnp.where(rows[:, None] & columns, k, 0.0)

        return _over_layers(one, (*side, scale))

    def add_rows(rows, values, i):
        start = jnp.minimum(i * block, n - block)
        before = lax.dynamic_slice_in_dim(rows, start, block, axis=1)
        return lax.dynamic_update_slice_in_dim(rows, before + values, start, axis=1)

    def add(sums, index):
        i, j = index
        times = jnp.where(i == j, 1.0, 2.0)  # a block above the diagonal stands for two
        products, row_sums = sums
        grams = [gram(side, scale, i, j) for side, scale in zip(sides, scales, strict=True)]
        k, l = (g.reshape(len(g), -1) for g in grams)  # noqa: E741
        found = (_einsum("ma,la->ml", k, l), jnp.sum(k * k, axis=1), jnp.sum(l * l, axis=1))
        products = jax.tree.map(lambda p, f: p + times * f, products, found)
        if gaussian:
            row_sums = tuple(
                add_rows(add_rows(r, g.sum(axis=2), i), jnp.where(i == j, 0.0, g.sum(axis=1)), j)
                for r, g in zip(row_sums, grams, strict=True)
            )
        return (products, row_sums), None

    start = (
        (jnp.zeros((len(new), len(old))), jnp.zeros(len(new)), jnp.zeros(len(old))),
        (jnp.zeros((len(new), n)), jnp.zeros((len(old), n))),
    )
    upper = tuple(jnp.asarray(index) for index in np.triu_indices(blocks))
    (products, (row_k, row_l)), _ = lax.scan(add, start, upper)
    diagonal_k, diagonal_l = (
        jnp.full(side[0].shape[:2], 1.0 - typical) if gaussian else _squares(*side)
        for side in sides
    )
    return (
        _vector_sums(products[0], row_k, row_l, diagonal_k, diagonal_l, ALL_PAIRS),
        _vector_sums(products[1], row_k, row_k, diagonal_k, diagonal_k, SELF),
        _vector_sums(products[2], row_l, row_l, diagonal_l, diagonal_l, SELF),
    )


def _median_square(features: jax.Array, at: Location) -> jax.Array:
    """Median squared distance between different windows of each layer, after scaling."""
    some = at.apply(features[:, :: max(1, features.shape[1] // 1000)])
    rows, columns = np.triu_indices(some.shape[1], 1)

    def one(x):
        squares = jnp.sum(x**2, axis=1)
        distances = squares[:, None] + squares - 2 * _einsum("nd,md->nm", x, x)
        return jnp.median(jnp.maximum(distances[rows, columns], 0))

    return _over_layers(one, some)
