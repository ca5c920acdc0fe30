"""Scores of all positions (m, l) at once, beyond the two-stage choice.

A closed-form bridge stands in for the trained one: ridge regression from new layer m's pooled output
to all tokens of old layer l's input, cross-validated. Its held-out predictions are linear in the
targets, H^ = S_m H_l, with a smoother S_m (windows, windows) that depends on m and the penalty
alone. So all M x L held-out errors follow from M smoothers and L Gram matrices, and what the errors
do to the logits, to first order, from L matrices of <gradient, tokens> products: tokens times
features, however many, appear only in those products.

What the errors do exactly (`pushed`) takes the old suffix once per position, and `train_bridges`
trains the bridges of all new layers into one old layer side by side. `launch.compare_selectors`
measures which of these is worth its time. The position l = L is the head: the target is then the
token mean of the last layer's output.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from jaxbridge.bridge import PrototypeBridge, mixed_prototypes
from jaxbridge.features import checks as feature_checks
from jaxbridge.features.sweep import sweep
from jaxbridge.head import TaskHead
from jaxbridge.training import losses
from jaxbridge.training.bridging import BridgeSettings
from model_ports import Encoder
from model_ports.encoder import token_mean
from model_ports.errors import InputError

# Relative to the sum of squares of the centred training windows.
PENALTIES = tuple(10.0 ** np.arange(-6.0, 0.5))


class RidgeMaps(NamedTuple):
    """Cross-validated ridge maps of all positions.

    Attributes:
        r2: (new layers, old layers) held-out share of variance explained, all tokens together,
            against the training windows' mean; at the best penalty.
        penalty: (new layers, old layers) that penalty, relative, see `PENALTIES`.
        error: (new layers, old layers, windows) squared held-out error of each window.
        spread: (old layers, windows) the same of predicting the training windows' mean.
        smoothers: (new layers, penalties, windows, windows) float32: row i predicts window i from
            windows outside its fold. Rows sum to 1.
        chosen: (new layers, old layers) index of the best penalty.
    """

    r2: np.ndarray
    penalty: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    smoothers: np.ndarray
    chosen: np.ndarray


def gram(tokens: ArrayLike) -> np.ndarray:
    """Gram matrix of centred windows.

    Args:
        tokens: (windows, ...) targets, flattened per window.

    Returns:
        (windows, windows) float64.
    """
    flat = np.asarray(tokens, np.float64).reshape(len(tokens), -1)
    flat = flat - flat.mean(axis=0)
    return flat @ flat.T


def ridge_maps(
    new: ArrayLike, grams: ArrayLike, test_folds: ArrayLike, penalties: Sequence[float] = PENALTIES
) -> RidgeMaps:
    """Held-out ridge maps from every new layer to every old layer's input, in one compiled call.

    Args:
        new: (new layers, windows, width), zero-padded where layers differ in width.
        grams: (old layers, windows, windows) from `gram`, same windows.
        test_folds: (folds, windows) bool, True where held out, every window once.
        penalties: relative to the sum of squares of the layer's centred training windows.

    Raises:
        InputError: see `jaxbridge.features.checks.check`; Gram matrices or masks of another shape; a
            window that is not held out exactly once; a penalty that is not positive.
    """
    feature_checks.check(new, name="new features")
    windows = np.shape(new)[1]
    test = np.asarray(test_folds, bool)
    if test.ndim != 2 or test.shape[1] != windows or not (test.sum(axis=0) == 1).all():
        raise InputError(
            f"test_folds: each of the {windows} windows must be held out once; "
            "use jaxbridge.selection.folds.stratified_folds"
        )
    grams = np.asarray(grams)
    if grams.ndim != 3 or grams.shape[1:] != (windows, windows):
        raise InputError(
            f"grams: shape {grams.shape} is not (old layers, {windows}, {windows}); both sides must "
            "come from the same paired windows"
        )
    feature_checks.check_finite(grams, name="old Gram matrices")
    penalties = np.asarray(penalties, np.float64)
    if penalties.ndim != 1 or not penalties.size or not (penalties > 0).all():
        raise InputError("penalties: all must be positive numbers")
    # float64 and one OpenBLAS thread: see jaxbridge.selection.ridge and jaxbridge.selection.probe.
    with threadpool_limits(1, user_api="blas"), jax.enable_x64(True):
        arguments = (jnp.asarray(a, jnp.float64) for a in (new, grams, test, penalties))
        found = _ridge_maps(*arguments, jnp.asarray(_rows(test)))
        error, chosen, spread, smoothers = jax.device_get(found)
    total = spread.sum(axis=1)
    if not (total > 0).all():
        raise InputError(
            f"old layers {np.flatnonzero(total <= 0).tolist()} are constant over all windows; "
            "leave them out"
        )
    return RidgeMaps(
        1 - error.sum(axis=2) / total, penalties[chosen], error, spread, smoothers, chosen
    )


def _rows(test: np.ndarray) -> np.ndarray:
    """Held-out windows of each fold, (folds, most); the number of windows where there are fewer."""
    rows = np.full((len(test), test.sum(axis=1).max()), test.shape[1])
    for row, held in zip(rows, test, strict=True):
        row[: held.sum()] = np.flatnonzero(held)
    return rows


def _errors(smoother: jax.Array, gram: jax.Array) -> jax.Array:
    """||h_i - S_i H||^2 of every window from the Gram matrix of H, (windows,)."""
    a = jnp.eye(len(smoother)) - smoother
    return jnp.sum((a @ gram) * a, axis=1)


@jax.jit
def _ridge_maps(new, grams, test, penalties, rows):
    windows = new.shape[1]

    def smooth(x):
        """(penalties, windows, windows) and total errors, (penalties, old layers)."""

        def fold(held, index):
            seen = 1.0 - held
            count = seen.sum()
            centred = x - seen @ x / count
            trained = centred * seen[:, None]
            values, axes = jnp.linalg.eigh(trained @ trained.T)
            total = jnp.maximum(jnp.sum(trained**2), jnp.finfo(x.dtype).tiny)
            scaled = jnp.maximum(values, 0) + penalties[:, None] * total
            cross = (centred.at[index].get(mode="clip") @ trained.T) @ axes
            weights = jnp.einsum("ia,pa,ja->pij", cross, 1 / scaled, axes) * seen
            # What the weights leave of 1 goes to the mean of the training windows.
            return weights + (1.0 - weights.sum(axis=2, keepdims=True)) * seen / count

        found = lax.map(lambda at: fold(*at), (test, rows))  # (folds, penalties, most, windows)
        found = found.swapaxes(1, 2).reshape(-1, len(penalties), windows)
        smoothers = jnp.zeros((windows, len(penalties), windows))
        smoothers = smoothers.at[rows.reshape(-1)].set(found, mode="drop").swapaxes(0, 1)

        def total(smoother):  # trace(A G A') = <A'A, G>: one product for all old layers
            a = jnp.eye(windows) - smoother
            return jnp.einsum("ij,lij->l", a.T @ a, grams)

        return smoothers, lax.map(total, smoothers)

    def one(x):
        smoothers, totals = smooth(x)
        chosen = jnp.argmin(totals, axis=0)
        error = lax.map(lambda at: _errors(smoothers[at[0]], at[1]), (chosen, grams))
        return error, chosen, smoothers.astype(jnp.float32)

    error, chosen, smoothers = lax.map(one, new)
    train = 1.0 - test
    mean = jnp.einsum("fi,fj->ij", test, train / train.sum(axis=1, keepdims=True))
    return error, chosen, lax.map(lambda g: _errors(mean, g), grams), smoothers


class Graft(nnx.Module):
    """The old encoder from layer `start` on, and the head."""

    def __init__(self, old: Encoder, head: TaskHead, start: int):
        self.old, self.head, self.start = old, head, start

    def __call__(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(batch, tokens, features) -> last-layer tokens and logits."""
        context = self.head.context_for(tokens.shape[0])
        last = self.old.run(tokens, self.start, self.old.num_layers, context)
        return last, self.head(token_mean(last))


def first_order_logits(
    old: Encoder, head: TaskHead, maps: RidgeMaps, tokens: Sequence[np.ndarray], logits: np.ndarray
) -> np.ndarray:
    """Logits on every position's held-out ridge prediction, to first order around the true tokens.

    Args:
        old: the old encoder.
        head: its head.
        maps: ridge maps to the same tokens.
        tokens: inputs of every old layer, and of the head, (windows, tokens, features) each.
        logits: (windows, classes) on the true tokens.

    Returns:
        (new layers, old layers, windows, classes).
    """
    found = []
    for l, h in enumerate(tokens):  # noqa: E741
        products = _gradient_products(Graft(old, head, l), h, logits.shape[1])
        smoothers = maps.smoothers[np.arange(len(maps.chosen)), maps.chosen[:, l]]
        found.append(_move(jnp.asarray(smoothers), jnp.asarray(products), jnp.asarray(logits)))
    return np.stack(found, axis=1)


@jax.jit
def _move(smoothers, products, logits):
    own = jnp.diagonal(products, axis1=1, axis2=2)
    moved = jnp.einsum("mij,cij->mci", smoothers, products) - own
    return logits + moved.swapaxes(1, 2)


def _gradient_products(graft: Graft, tokens: np.ndarray, classes: int) -> np.ndarray:
    """<gradient of window i's logit c, centred tokens of window j>, (classes, windows, windows)."""

    def gradients(graft, tokens):
        def of_class(c):
            return jax.grad(lambda t: jnp.sum(graft(t)[1][:, c]))(tokens)

        return jnp.stack([of_class(c).reshape(len(tokens), -1) for c in range(classes)], axis=1)

    flat = tokens.reshape(len(tokens), -1)
    flat = flat - flat.mean(axis=0)
    found = sweep(
        gradients, graft, lambda i: tokens[i], np.arange(len(tokens)), batch_size=64,
        what=f"gradients at old layer {graft.start}",
    )
    return np.einsum("icd,jd->cij", found, flat, optimize=True)


def pushed(
    old: Encoder, head: TaskHead, maps: RidgeMaps, tokens: Sequence[np.ndarray], last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Runs the old suffix on every position's held-out ridge prediction.

    Args:
        old, head, maps, tokens: as for `first_order_logits`.
        last: (windows, tokens, features) of the last layer on the true tokens.

    Returns:
        Cosine distance of the last layer, (new layers, old layers, windows), and logits, (new
        layers, old layers, windows, classes).
    """

    def run(graft, tokens):
        return graft(tokens)

    windows = np.arange(len(last))
    distance, logits = [], []
    for l, h in enumerate(tokens):  # noqa: E741
        flat = h.reshape(len(h), -1)
        goal = h if l == old.num_layers else last
        for m in range(len(maps.chosen)):
            predicted = (maps.smoothers[m, maps.chosen[m, l]] @ flat).reshape(h.shape)
            found, z = sweep(
                run, Graft(old, head, l), lambda i, predicted=predicted: predicted[i], windows,
                batch_size=64, what=f"new layer {m} through old layers {l} on",
            )
            distance.append(np.asarray(losses.cosine(found, goal)))
            logits.append(z)
    shape = len(tokens), len(maps.chosen)
    distance, logits = (np.stack(x).reshape(*shape, *x[0].shape) for x in (distance, logits))
    return distance.swapaxes(0, 1), logits.swapaxes(0, 1)


def train_bridges(
    old: Encoder, head: TaskHead, l: int,  # noqa: E741
    new: Sequence[np.ndarray], target: np.ndarray, shape: tuple[int, int], rows: np.ndarray,
    held: np.ndarray, settings: BridgeSettings, *, steps: Sequence[int], seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Trains bridges from all new layers into one old layer at once, as `train_bridge` trains one.

    Args:
        old: the old encoder.
        head: its head.
        l: old layer, or `old.num_layers` for the head.
        new: pooled outputs of the new layers, (windows, width_i) each.
        target: (windows, tokens, features) last layer's output of the same windows, at the head
            its token mean.
        shape: (tokens, features) of old layer l's input.
        rows: (steps, batch) windows of each step.
        held: (k,) windows to evaluate on.
        settings: rank, prototypes and learning rate.
        steps: after how many steps to evaluate, ascending.
        seed: fixes initial values.

    Returns:
        Cosine distance, (len(steps), new layers, k), and logits, (len(steps), new layers, k,
        classes), of the held windows.
    """
    stacked, widths = feature_checks.stack(new)
    bridges = [
        PrototypeBridge(
            width, *shape, rank=settings.rank, num_prototypes=settings.num_prototypes,
            rngs=nnx.Rngs(seed),
        )
        for width in widths
    ]
    padding = [((0, stacked.shape[2] - width), (0, 0)) for width in widths]
    params = {
        "a": jnp.stack([
            jnp.pad(b.low_rank_a[...], p) for b, p in zip(bridges, padding, strict=True)
        ]),
        "b": jnp.stack([b.low_rank_b[...] for b in bridges]),
        "prototypes": jnp.stack([b.prototypes[...] for b in bridges]),
    }
    found = _train_bridges(
        Graft(old, head, l), params, jnp.asarray(stacked), jnp.asarray(target), jnp.asarray(rows),
        jnp.asarray(held), learning_rate=settings.learning_rate, steps=tuple(steps),
        shape=tuple(shape),
    )
    return jax.device_get(found)


@functools.partial(jax.jit, static_argnames=("learning_rate", "steps", "shape"))
def _train_bridges(graft, params, new, target, rows, held, *, learning_rate, steps, shape):
    optimizer = optax.adam(learning_rate)

    def forward(params, index):
        def bridge(params, pooled):
            return mixed_prototypes(
                pooled, params["a"], params["b"], params["prototypes"], tokens=shape[0]
            )

        tokens = jax.vmap(bridge)(params, new[:, index])
        # All bridges share the suffix: one batch.
        last, logits = graft(tokens.reshape(-1, *shape))
        goal = jnp.broadcast_to(target[index], (len(new), len(index), *target.shape[1:]))
        distance = losses.cosine(last, goal.reshape(last.shape))
        return distance.reshape(len(new), -1), logits.reshape(len(new), len(index), -1)

    def step(carry, index):
        params, state = carry
        gradients = jax.grad(lambda p: forward(p, index)[0].mean(axis=1).sum())(params)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(params, updates), state), None

    def evaluate(params):
        size = -(-len(held) // -(-len(held) // 128))
        padded = jnp.pad(held, (0, -len(held) % size), mode="edge").reshape(-1, size)
        found = lax.map(lambda index: forward(params, index), padded)

        def whole(x):
            return jnp.moveaxis(x, 0, 1).reshape(len(new), -1, *x.shape[3:])[:, : len(held)]

        return jax.tree.map(whole, found)

    carry, found, before = (params, optimizer.init(params)), [], 0
    for stop in steps:
        carry, _ = lax.scan(step, carry, rows[before:stop])
        found.append(evaluate(carry[0]))
        before = stop
    return jax.tree.map(lambda *x: jnp.stack(x), *found)
