"""A bridge in closed form, to start training from.

From its random start a bridge first has to leave a constant output; with few pairs it may learn the
classes the wrong way round instead. The linear map that predicts the old layer's input best, among
those of the bridge's rank and number of prototypes, is known without a step: prototypes are the
principal vectors of the tokens, and the low-rank map is the reduced-rank ridge regression (Mukherjee
and Zhu 2011) of what each token holds of them on the new encoder's features.

All is solved in float64 on the host, from sums over windows, so targets need not be kept.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from threadpoolctl import threadpool_limits

from jaxbridge import hosts
from jaxbridge.bridge import PrototypeBridge
from model_ports.errors import InputError

# (split, rows of it) -> tokens of these windows, (k, tokens, features) at a time, in order.
Tokens = Callable[[str, np.ndarray], Iterator[np.ndarray]]
# In units of the features' total variance over the pairs; the validation windows choose.
PENALTIES = tuple(10.0**k for k in range(-6, 2))
# eigh is slower, sometimes by far, with several OpenBLAS threads.
_ONE_THREAD = functools.partial(threadpool_limits, 1, user_api="blas")


def closed_form(
    bridge: PrototypeBridge, pooled: Mapping[str, np.ndarray], tokens: Tokens,
    penalties: tuple[float, ...] = PENALTIES,
) -> tuple[PrototypeBridge, float]:
    """Returns a bridge at the reduced-rank ridge solution, and the penalty that was chosen.

    With C the tokens' coefficients on the prototypes P (the tokens' principal vectors, not centred),
    A B minimises ||C - Z A B||^2 + penalty ||A B||^2 among maps of the rank; like the bridge it has
    no intercept. The penalty of lowest squared error on "val" is taken. Columns of A have the norm, and
    rows of P the length, that random ones have. Ranks beyond the features' and prototypes beyond the
    tokens' keep their random values, with zeros in B.

    Several processes share the windows out, and all get the same bits.

    Args:
        bridge: untrained; is not changed.
        pooled: "pair" and "val" -> what the bridge reads, (windows, in_features).
        tokens: reads the old layer's input of the same windows, (k, tokens, features) at a time;
            "pair" is read twice.
        penalties: positive, in units of the features' total variance over the pairs.

    Raises:
        InputError: tokens that are not finite.
    """
    axes = _principal(tokens, len(pooled["pair"]), bridge)
    sums = {
        split: _Sums.of(values, tokens, split, axes, bridge) for split, values in pooled.items()
    }
    with _ONE_THREAD():
        found = _solve(sums["pair"], sums["val"], penalties, bridge.low_rank_a.shape[1])
    return _filled(bridge, axes, found), found.penalty


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Of one split: Z'Z, Z'C and ||C||^2, and the variance of Z summed over windows and features."""

    zz: np.ndarray
    zc: np.ndarray
    cc: float
    spread: float

    @classmethod
    def of(
        cls, pooled: np.ndarray, tokens: Tokens, split: str, axes: np.ndarray,
        bridge: PrototypeBridge,
    ) -> "_Sums":
        z = np.asarray(pooled, np.float64)
        zc, cc, at = np.zeros((z.shape[1], bridge.tokens * axes.shape[1])), 0.0, 0
        rows = hosts.share(len(z))
        for part in _parts(tokens, split, rows, bridge):
            c = (part @ axes).reshape(len(part), -1)
            zc += z[rows[at : at + len(part)]].T @ c
            cc += float(np.sum(c**2))
            at += len(part)
        spread = float(z.var(axis=0).sum()) * len(z)
        return cls(z.T @ z, _over_processes(zc), float(_over_processes(np.array(cc))), spread)


@dataclasses.dataclass(frozen=True)
class _Solution:
    a: np.ndarray
    b: np.ndarray
    penalty: float


def _principal(tokens: Tokens, windows: int, bridge: PrototypeBridge) -> np.ndarray:
    """The tokens' first principal vectors, (features, at most num_prototypes)."""
    moment = np.zeros((bridge.features, bridge.features))
    for part in _parts(tokens, "pair", hosts.share(windows), bridge):
        flat = part.reshape(-1, bridge.features)
        moment += flat.T @ flat
    moment = _over_processes(moment)
    if not np.isfinite(moment).all():
        raise InputError(
            "the old encoder's tokens are not finite where the bridge would write; check its weights "
            "and the old signals, or take another position."
        )
    with _ONE_THREAD():
        _, vectors = np.linalg.eigh(moment)
    vectors = vectors[:, ::-1][:, : bridge.prototypes.shape[0]]
    return vectors * _signs(vectors)


def _parts(
    tokens: Tokens, split: str, rows: np.ndarray, bridge: PrototypeBridge
) -> Iterator[np.ndarray]:
    if not len(rows):  # more processes than windows
        return
    for part in tokens(split, rows):
        part = np.asarray(part, np.float64)
        if bridge.layout == "reinterpret":  # which reads (features, tokens) as (tokens, features)
            part = part.reshape(len(part), bridge.features, bridge.tokens).transpose(0, 2, 1)
        yield part


def _over_processes(value: np.ndarray) -> np.ndarray:
    return hosts.gathered(value[None]).sum(axis=0) if hosts.several() else value


def _solve(pair: _Sums, val: _Sums, penalties: tuple[float, ...], rank: int) -> _Solution:
    """Works in the basis in which Z'Z is diagonal, where all penalties share their products."""
    values, basis = np.linalg.eigh(pair.zz)
    values = np.maximum(values, 0)
    known, known_val = basis.T @ pair.zc, basis.T @ val.zc
    cross, cross_val = known @ known.T, known_val @ known.T
    zz_val = basis.T @ val.zz @ basis
    # A layer that is the same for every window has no variance: any penalty will do.
    unit = pair.spread or 1.0
    best = None
    for penalty in penalties:
        shrunk = 1 / np.sqrt(values + penalty * unit)
        squares, left = np.linalg.eigh(shrunk[:, None] * cross * shrunk)
        squares, left = squares[::-1][:rank], left[:, ::-1][:, :rank]
        a = shrunk[:, None] * left  # and B = A' Z'C, with B B' diagonal
        error = (
            val.cc - 2 * np.sum(a * (cross_val @ a)) + np.sum((a * (zz_val @ a)) * squares)
        )
        if best is None or error < best[0]:
            best = error, penalty, a
    _, penalty, a = best
    a = a * _signs(basis @ a)
    return _Solution(basis @ a, a.T @ known, penalty)


def _signs(vectors: np.ndarray) -> np.ndarray:
    """Signs that make each column's largest entry positive: eigh leaves them to rounding."""
    largest = np.abs(vectors).argmax(axis=0)
    return np.sign(vectors[largest, np.arange(vectors.shape[1])])


def _filled(bridge: PrototypeBridge, axes: np.ndarray, found: _Solution) -> PrototypeBridge:
    """A copy with the solution in it, in the sizes that random values have."""
    bridge = nnx.clone(bridge)
    rank, count = found.a.shape[1], axes.shape[1]
    a, b, prototypes = (
        np.array(p[...], np.float64)
        for p in (bridge.low_rank_a, bridge.low_rank_b, bridge.prototypes)
    )
    length, norm = math.sqrt(bridge.features), math.sqrt(1 / 3)
    norms = np.linalg.norm(found.a, axis=0)
    a[:, :rank] = norm * found.a / norms
    by_token = b.reshape(len(b), bridge.tokens, -1)
    coefficients = found.b.reshape(rank, bridge.tokens, count)
    by_token[:rank, :, :count] = norms[:, None, None] / (norm * length) * coefficients
    prototypes[:count] = length * axes.T
    for parameter, value in (
        (bridge.low_rank_a, a), (bridge.low_rank_b, b), (bridge.prototypes, prototypes)
    ):
        parameter.set_value(jnp.asarray(value, jnp.float32))
    return bridge
