"""Linear CKA of windows that come in batches and need not fit in memory.

Two accumulators, both functional (`add` and `merge` return a new one) and both JAX pytrees:

- `CkaSums` keeps the cross-covariances, from which CKA of all windows follows exactly, biased or
  debiased. Its memory, new layers x old layers x width x width, does not grow with the windows.
- `MinibatchCka` averages the debiased HSIC of the batches (Nguyen et al. 2021, arXiv 2010.15327,
  eq. 3), in a few numbers per pair; for very wide layers. Batches must be random draws.

Accumulators of several hosts merge if they were started from the same batch.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from jaxbridge.features import checks as feature_checks
from jaxbridge.selection import cka as whole
from model_ports.errors import InputError


class Origin(NamedTuple):
    """What is subtracted from and divided out of features so that float32 sums stay exact.

    CKA does not depend on it; the mean and scale of any one batch will do.
    """

    new: whole.Location
    old: whole.Location


class _Moments(NamedTuple):
    """Sums over windows for pairs of layers (x, y), with |x|^2 the squared norm of a window."""

    xy: jax.Array  # x y^T, (..., d, e)
    square_square: jax.Array  # |x|^2 |y|^2, (...)
    square_y: jax.Array  # |x|^2 y, (..., e)
    x_square: jax.Array  # x |y|^2, (..., d)


class CkaSums(NamedTuple):
    """Sums from which CKA of all windows so far follows. Make it with `CkaSums.start`."""

    origin: Origin
    count: jax.Array
    sum_new: jax.Array  # (new layers, width)
    sum_old: jax.Array
    pairs: _Moments  # (new layers, old layers, ...)
    new: _Moments  # (new layers, ...), each with itself
    old: _Moments

    @classmethod
    def start(cls, new: ArrayLike, old: ArrayLike) -> "CkaSums":
        """An empty accumulator with the origin of this batch, which is not yet added.

        Args:
            new: (new layers, windows, width), zero-padded where layers differ in width.
            old: (old layers, windows, width), of the same windows.

        Raises:
            InputError: see `linear_cka`; the batch needs at least 4 windows.
        """
        whole._check(new, old)
        (m, _, d), (l, _, e) = np.shape(new), np.shape(old)  # noqa: E741

        def zeros(layers, x, y):
            return _Moments(
                jnp.zeros((*layers, x, y)), jnp.zeros(layers), jnp.zeros((*layers, y)),
                jnp.zeros((*layers, x)),
            )  # fmt: skip

        return cls(
            _origin(new, old), jnp.zeros(()), jnp.zeros((m, d)),
            jnp.zeros((l, e)), zeros((m, l), d, e), zeros((m,), d, d), zeros((l,), e, e),
        )  # fmt: skip

    def add(self, new: ArrayLike, old: ArrayLike) -> "CkaSums":
        """With one more batch of any size, counted once.

        Memory is reused: this accumulator cannot be used after the call.

        Raises:
            InputError: NaN or infinite values, or other layers, widths or window counts.
        """
        _check_batch(self.origin, new, old)
        return _add_sums(self, whole._on_device(new), whole._on_device(old))

    def merge(self, other: "CkaSums") -> "CkaSums":
        """Both accumulators' windows in one.

        Raises:
            InputError: they were started from different batches.
        """
        _check_same(self.origin, other.origin)
        return CkaSums(self.origin, *jax.tree.map(jnp.add, self[1:], other[1:]))

    def cka(self, *, debiased: bool = False) -> np.ndarray:
        """(new layers, old layers) float64.

        Raises:
            InputError: fewer than 4 windows so far, or a constant layer.
        """
        n = float(self.count)
        if n < 4:
            raise InputError(f"CKA of {n:.0f} windows; add at least 4")
        new, old = (np.asarray(s, np.float64) / n for s in (self.sum_new, self.sum_old))
        pairs = np.array(
            [
                [_pair_hsic(self.pairs, (i, j), new[i], old[j], self._trace("new", i, new[i]),
                            self._trace("old", j, old[j]), n, debiased) for j in range(len(old))]
                for i in range(len(new))
            ]
        )  # fmt: skip
        own = [
            np.array(
                [_pair_hsic(moments, (i,), mean[i], mean[i], self._trace(side, i, mean[i]),
                            self._trace(side, i, mean[i]), n, debiased) for i in range(len(mean))]
            )
            for side, moments, mean in (("new", self.new, new), ("old", self.old, old))
        ]  # fmt: skip
        return whole._align(pairs, *own)

    def _trace(self, side: str, layer: int, mean: np.ndarray) -> float:
        squares = np.trace(np.asarray(getattr(self, side).xy[layer], np.float64))
        return squares - float(self.count) * (mean @ mean)


def _pair_hsic(moments, index, mean_x, mean_y, trace_x, trace_y, n, debiased) -> float:
    xy, square_square, square_y, x_square = (
        np.asarray(a[index], np.float64) for a in moments
    )
    centred = np.sum((xy - n * np.outer(mean_x, mean_y)) ** 2)
    # Sum of |x - mean|^2 |y - mean|^2, multiplied out.
    a, b = mean_x @ mean_x, mean_y @ mean_y
    diagonals = (
        square_square
        - 2 * mean_y @ square_y
        - 2 * mean_x @ x_square
        + 4 * mean_x @ xy @ mean_y
        + b * (trace_x + n * a)
        + a * (trace_y + n * b)
        - 3 * n * a * b
    )
    return whole._hsic(centred, 0, diagonals, 0, 0, (trace_x * trace_y, 0), n, debiased)


def _origin(new: ArrayLike, old: ArrayLike) -> Origin:
    return Origin(*(whole._location(whole._on_device(side)) for side in (new, old)))


def _moments(x: jax.Array, y: jax.Array) -> _Moments:
    square_x, square_y = jnp.sum(x**2, axis=1), jnp.sum(y**2, axis=1)
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    return _Moments(
        product(x.T, y), product(square_x, square_y), product(square_x, y), product(x.T, square_y)
    )


@functools.partial(jax.jit, donate_argnums=0)
def _add_sums(sums: CkaSums, new: jax.Array, old: jax.Array) -> CkaSums:
    origin = sums.origin
    count = new.shape[1]
    new, old = origin.new.apply(new), origin.old.apply(old)

    # Pair by pair into the sums: all pairs' batch sums beside them would double the memory.
    def add_pair(index, pairs):
        i, j = index // len(old), index % len(old)
        return jax.tree.map(lambda s, f: s.at[i, j].add(f), pairs, _moments(new[i], old[j]))

    def add_own(side):
        return lambda i, own: jax.tree.map(
            lambda s, f: s.at[i].add(f), own, _moments(side[i], side[i])
        )

    return CkaSums(
        origin,
        sums.count + count,
        sums.sum_new + jnp.sum(new, axis=1),
        sums.sum_old + jnp.sum(old, axis=1),
        lax.fori_loop(0, len(new) * len(old), add_pair, sums.pairs),
        lax.fori_loop(0, len(new), add_own(new), sums.new),
        lax.fori_loop(0, len(old), add_own(old), sums.old),
    )


class MinibatchCka(NamedTuple):
    """Sums of the batches' debiased HSIC. Make it with `MinibatchCka.start`."""

    origin: Origin
    pairs: np.ndarray  # (new layers, old layers) float64, weighted by windows
    new: np.ndarray  # (new layers,)
    old: np.ndarray

    @classmethod
    def start(cls, new: ArrayLike, old: ArrayLike) -> "MinibatchCka":
        """An empty accumulator with the origin of this batch, as `CkaSums.start`."""
        whole._check(new, old)
        layers = len(new), len(old)
        origin = _origin(new, old)
        return cls(origin, np.zeros(layers), np.zeros(layers[0]), np.zeros(layers[1]))

    def add(self, new: ArrayLike, old: ArrayLike) -> "MinibatchCka":
        """With one more batch of at least 4 windows.

        Raises:
            InputError: fewer windows, NaN or infinite values, or other layers or widths.
        """
        _check_batch(self.origin, new, old)
        count = np.shape(new)[1]
        if count < 4:
            raise InputError(f"a batch of {count} windows; debiased HSIC needs at least 4")
        new, old = whole._on_device(new), whole._on_device(old)
        # Centred anew, as the definition has it, but on one scale for all batches.
        at = [
            origin._replace(mean=jnp.mean(side, axis=1, keepdims=True))
            for origin, side in zip(self.origin, (new, old), strict=True)
        ]
        sums = whole._linear_sums(new, old, *at)
        sums = jax.tree.map(lambda a: np.asarray(a, np.float64), jax.device_get(sums))
        found = [whole._hsic(*pair, count, True) / (count - 3) for pair in sums]
        return MinibatchCka(self.origin, *(a + b for a, b in zip(self[1:], found, strict=True)))

    def merge(self, other: "MinibatchCka") -> "MinibatchCka":
        """Both accumulators' batches in one.

        Raises:
            InputError: they were started from different batches.
        """
        _check_same(self.origin, other.origin)
        return MinibatchCka(self.origin, *(a + b for a, b in zip(self[1:], other[1:], strict=True)))

    def cka(self) -> np.ndarray:
        """(new layers, old layers) float64, debiased.

        Raises:
            InputError: no batch yet, or a constant layer.
        """
        return whole._align(self.pairs, self.new, self.old)


def _check_batch(origin: Origin, new: ArrayLike, old: ArrayLike) -> None:
    for name, side, mean in (("new", new, origin.new.mean), ("old", old, origin.old.mean)):
        expected = (mean.shape[0], mean.shape[2])
        shape = np.shape(side)
        if len(shape) != 3 or (shape[0], shape[2]) != expected:
            raise InputError(
                f"{name} features: shape {shape}, but this accumulator was started with "
                f"{expected[0]} layers of width {expected[1]}"
            )
        feature_checks.check_finite(side, name=f"{name} features")
    feature_checks.check_pairs(new, old)


def _check_same(origin: Origin, other: Origin) -> None:
    same = jax.tree.map(
        lambda a, b: a.shape == b.shape and np.array_equal(a, b), origin, other
    )
    if not jax.tree.all(same):
        raise InputError(
            "these accumulators were started from different batches; start all from one batch"
        )
