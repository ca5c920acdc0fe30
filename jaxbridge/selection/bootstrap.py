"""How stable scores are: a bootstrap over subjects (Efron & Tibshirani 1993, chapter 13).

Windows of one person are no independent draws, people are. So people are drawn with replacement, and
each draw's score is put together from per-person parts of what was computed once; nothing is
refitted. What that makes of each score:

- probes: confusion counts (or log loss) of held-out windows, pooled over folds. The score of a draw
  is exact; that the probes themselves would differ on other people is left out.
- ratios of sums over held-out windows, such as ridge's share of variance explained: the same.
- linear CKA, biased: exact for each draw, from sums of products of Gram matrices over pairs of people.

A draw repeats people, which raises biased CKA as a smaller sample does. The mean shift of all draws is
therefore taken off the intervals and off the comparisons between cells.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from jaxbridge.features import checks as feature_checks
from jaxbridge.selection.cka import linear_cka
from jaxbridge.statistics.confusion import balanced_accuracy, macro_f1
from model_ports.errors import InputError

LEVEL = 0.95
# Blocks that stand for people where windows have no subject.
BLOCKS = 50
# Gram matrices of all layers are held at once: at 2,000 windows 16 MB each.
MAX_CKA_WINDOWS = 2000
# Draws closer than this are rounding, not difference.
_ROUNDING = 1e-6
# Below this share of what centring a draw starts from, float32 keeps too few digits of its HSIC.
_KEPT = 1e-3


@dataclass(frozen=True)
class Stability:
    """A table of scores and what resampling people does to it.

    Attributes:
        value: the scores, of any shape.
        low, high: 95 % interval of each, same shape.
        best: probability that each entry is the best one, same shape, sum 1; equals share.
        tied: bool, same shape: the best entry, and those whose distance to it is 0 or has a 95 %
            interval that holds 0.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray
    tied: np.ndarray


class Draws:
    """Resampled people.

    Args:
        groups: (windows,) subject of each window; None takes 50 blocks of consecutive windows for
            subjects, or each window where there are fewer.
        num_windows: number of windows.
        resamples: how many draws.
        seed: fixes them.

    Attributes:
        member: (windows,) index of each window's subject.
        counts: (resamples, subjects) how often each subject was drawn.

    Raises:
        InputError: fewer than 3 subjects, groups of another length, no resamples.
    """

    def __init__(
        self, groups: ArrayLike | None, num_windows: int, *, resamples: int = 1000, seed: int = 0
    ):
        if groups is None:
            groups = np.arange(num_windows) * min(BLOCKS, num_windows) // num_windows
        if np.shape(groups) != (num_windows,):
            raise InputError(
                f"groups: shape {np.shape(groups)}, but there are {num_windows} windows; give one "
                "subject per window"
            )
        if resamples < 1:
            raise InputError(f"resamples is {resamples}; it must be at least 1")
        names, self.member = np.unique(np.asarray(groups), return_inverse=True)
        count = len(names)
        if count < 3:
            raise InputError(f"groups: {count} subjects; a bootstrap over subjects needs at least 3")
        rng = np.random.default_rng(seed)
        self.counts = rng.multinomial(count, np.full(count, 1 / count), size=resamples)

    def per_subject(self, values: ArrayLike) -> np.ndarray:
        """(..., windows) -> sums over each subject's windows, (..., subjects) float64."""
        values = np.asarray(values, np.float64)
        sums = np.zeros((*values.shape[:-1], self.counts.shape[1]))
        np.add.at(np.moveaxis(sums, -1, 0), self.member, np.moveaxis(values, -1, 0))
        return sums

    def sums(self, values: ArrayLike) -> np.ndarray:
        """(..., windows) -> sums over each draw's windows, (resamples, ...)."""
        return np.moveaxis(self.per_subject(values) @ self.counts.T, -1, 0)


def stability(value: ArrayLike, draws: np.ndarray, *, lowest: bool = False) -> Stability:
    """Intervals, probabilities and ties from resampled scores.

    Args:
        value: scores of all windows, of any shape.
        draws: (resamples, ...) the same of each draw. A score that a draw does not define is NaN
            there; it does not count in that draw.
        lowest: the lowest score is the best, as for a loss.

    Raises:
        InputError: a score that no draw defines.
    """
    value = np.asarray(value, np.float64)
    if np.isnan(draws).all(axis=0).any():
        raise InputError(
            "bootstrap: in no draw do a layer's windows vary enough to score it; give more subjects, "
            "more windows or more resamples"
        )
    draws = draws - (np.nanmean(draws, axis=0) - value)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    sign = -1.0 if lowest else 1.0
    flat, point = sign * draws.reshape(len(draws), -1), sign * value.reshape(-1)
    flat = flat[~np.isnan(flat).all(axis=1)]
    top = np.nanmax(flat, axis=1, keepdims=True)
    first = flat >= top - _ROUNDING
    best = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    winner = np.argmax(point)
    distance = flat[:, [winner]] - flat
    near = np.nanpercentile(distance, tail, axis=0) <= _ROUNDING
    tied = near | (point >= point[winner] - _ROUNDING)
    return Stability(value, low, high, best.reshape(value.shape), tied.reshape(value.shape))


def ratio_draws(numerator: ArrayLike, denominator: ArrayLike, draws: Draws) -> np.ndarray:
    """sum(numerator) / sum(denominator) of each draw's windows.

    Args:
        numerator: (..., windows).
        denominator: (..., windows), broadcast to the numerator.
        draws: see `Draws`.

    Returns:
        (resamples, ...).
    """
    numerator, denominator = draws.sums(numerator), draws.sums(denominator)
    missing = tuple(range(1, 1 + numerator.ndim - denominator.ndim))
    return numerator / np.expand_dims(denominator, missing)


def probe_draws(
    predictions: ArrayLike, labels: ArrayLike, draws: Draws, *, criterion: str
) -> tuple[np.ndarray, np.ndarray]:
    """Macro F1 or balanced accuracy of held-out predictions, pooled over folds.

    Args:
        predictions: (layers, windows) predicted class of each window when it was held out.
        labels: (windows,) class indices.
        draws: see `Draws`.
        criterion: "macro_f1" or "balanced_accuracy".

    Returns:
        The score of all windows, (layers,), and of each draw, (resamples, layers).
    """
    # Classes that occur, however their indices are spaced: the counts below are classes^2.
    names, index = np.unique(np.vstack([labels, predictions]), return_inverse=True)
    index = index.reshape(-1, np.shape(labels)[0])
    labels, predictions, classes = index[0], index[1:], len(names)
    cell = labels * classes + predictions
    hit = cell[:, None, :] == np.arange(classes**2)[:, None]
    shape = (len(predictions), classes, classes)
    counts = hit.sum(axis=2).reshape(1, *shape)
    drawn = draws.sums(hit).reshape(-1, *shape)
    score = {"macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}[criterion]
    return score(counts)[0], score(drawn)


def cka_draws(new: ArrayLike, old: ArrayLike, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Biased linear CKA of all windows and of each draw, for all (new, old) pairs of layers.

    Beyond 2,000 windows each subject is represented by evenly spaced windows of its own.

    Args:
        new: (new layers, windows, width), zero-padded where layers differ in width.
        old: (old layers, windows, width), of the same windows.
        draws: see `Draws`.

    Returns:
        (new layers, old layers) float64, all windows being used, and (resamples, new layers, old
        layers). NaN where a draw's windows do not vary, or so little beside their distance from the
        mean of all that the score would be rounding: those of one person drawn again and again.

    Raises:
        InputError: see `jaxbridge.selection.cka.linear_cka`.
    """
    value = linear_cka(new, old)
    rows, owner = _chunks(draws.member, draws.counts.shape[1])
    arrays = []
    for side in (new, old):
        layers = np.asarray(side, np.float32)[:, rows[rows >= 0]]
        feature_checks.check_not_constant(layers)
        mean = layers.mean(axis=1, keepdims=True)
        layers = (layers - mean) / layers.std(axis=(1, 2), keepdims=True)
        chunked = np.zeros((len(layers), *rows.shape, layers.shape[2]), np.float32)
        chunked[:, rows >= 0] = layers
        arrays.append(chunked)
    found = _cka_draws(
        *(jnp.asarray(a) for a in arrays), jnp.asarray(rows >= 0), jnp.asarray(owner),
        jnp.asarray(draws.counts, jnp.float32),
    )
    cross, own_new, own_old = (np.asarray(x, np.float64) for x in found)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = cross / np.sqrt(own_new[:, :, None] * own_old[:, None, :])
    return value, np.where(np.isfinite(drawn), drawn, np.nan)


def _chunks(member: np.ndarray, subjects: int) -> tuple[np.ndarray, np.ndarray]:
    """Each subject's windows in chunks of equal size: (chunks, size) indices, -1 where there is none.

    Returns:
        The indices and each chunk's subject, (chunks,).
    """
    own = [np.flatnonzero(member == s) for s in range(subjects)]
    if len(member) > MAX_CKA_WINDOWS:
        share = MAX_CKA_WINDOWS / len(member)
        own = [
            rows[np.linspace(0, len(rows) - 1, max(1, round(share * len(rows)))).astype(int)]
            for rows in own
        ]
    size = -(-sum(map(len, own)) // subjects)
    chunks = [(rows[i : i + size], s) for s, rows in enumerate(own) for i in range(0, len(rows), size)]
    padded = np.full((len(chunks), size), -1)
    for row, (chunk, _) in zip(padded, chunks, strict=True):
        row[: len(chunk)] = chunk
    return padded, np.array([subject for _, subject in chunks])


@jax.jit
def _cka_draws(new, old, valid, owner, counts):
    """HSIC of each draw for (new, old), (new, itself), (old, itself).

    With a draw's count w of each window's subject and n = sum(w), biased HSIC of the repeated
    windows is w'(K * L)w - 2/n sum(w * Kw * Lw) + (w'Kw)(w'Lw)/n^2. Features are centred over all
    windows and zero where a chunk has no window, which adds nothing to any of these sums.
    """
    einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)

    def with_chunk(c):
        """Sums of products of Gram matrices over (chunk c, every chunk)."""
        k, g = (einsum("mie,mcje->cmij", x[:, c], x) for x in (new, old))
        k, g = (x.reshape(*x.shape[:2], -1) for x in (k, g))
        return einsum("cma,cla->mlc", k, g), jnp.sum(k * k, axis=2).T, jnp.sum(g * g, axis=2).T

    products = lax.map(with_chunk, jnp.arange(len(owner)))
    # Gram rows summed over each chunk's windows, (layers, windows, chunks).
    rows = [einsum("mcie,mde->mcid", x, x.sum(axis=2)) for x in (new, old)]
    rows = [x.reshape(len(x), -1, x.shape[-1]) for x in rows]

    def draw(w):
        w = w[owner]
        seen = (w[:, None] * valid).reshape(-1)
        n = jnp.sum(seen)
        k, g = (einsum("mic,c->mi", x, w) for x in rows)  # (layers, windows)
        total_k, total_g = einsum("mi,i->m", k, seen), einsum("mi,i->m", g, seen)

        def quadratic(sums):
            return einsum("d...c,d,c->...", sums, w, w)

        def own(sums, k, total):
            whole = quadratic(sums)
            found = whole - 2 / n * einsum("mi,mi,i->m", k, k, seen) + total**2 / n**2
            return jnp.where(found > _KEPT * whole, found, jnp.nan)

        return (
            quadratic(products[0]) - 2 / n * einsum("mi,li,i->ml", k, g, seen)
            + jnp.outer(total_k, total_g) / n**2,
            own(products[1], k, total_k),
            own(products[2], g, total_g),
        )  # fmt: skip

    return lax.map(draw, counts, batch_size=16)
