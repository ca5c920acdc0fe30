"""Multinomial logistic regression with an L2 penalty, for many training subsets at once.

Minimised per subset, with logits z = W x + b, is scikit-learn's objective

    0.5 * penalty * ||W||^2 + sum over training windows of cross-entropy(z, label)

with free intercepts b (penalty = 1 / C). The subsets share the features, so that all their logits
are one matrix product and all their gradients another; at the minimum the rows of W sum to zero,
so that W is sought in an orthonormal basis of the contrasts between classes, one row less.

Method: L-BFGS (Nocedal & Wright, Numerical Optimization, alg. 7.5) with a line search that needs
no product with the features. Feature spectra of encoders fall like a power law, for which
scikit-learn needs hundreds of steps; there it starts from the inverse of one Hessian per layer,
pooled over subsets and classes and renewed as the fits proceed, else from the Hessian's diagonal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Correction pairs of L-BFGS; more do not save steps (measured, isotropic and power-law spectra).
MEMORY = 4
# Isotropic noise has an eigenvalue spread of 1 + features / windows <= 2: there a pooled Hessian
# saves too few steps to pay for itself.
FLAT = 4.0
# The pooled Hessian is renewed after this many steps, when most windows have found their side, and
# again each time their number has grown by the factor.
RENEWAL, GROWTH = 16, 8
# Steps without any progress after which a fit ends.
PATIENCE = 5
# float32 softmax is exactly 0 below this: the logit of a class without training windows.
ABSENT = -1e4


class Fit(NamedTuple):
    """What one layer's fits found, for every training subset."""

    logits: jax.Array  # (subsets, classes, windows), of all windows, trained on or not
    objective: jax.Array  # (subsets,)
    gap: jax.Array  # (subsets,) estimated distance to the minimum / objective
    iterations: jax.Array  # () steps of the slowest subset


class _Pairs(NamedTuple):
    """The last steps, newest first."""

    steps: jax.Array
    changes: jax.Array  # of the gradient
    newton: jax.Array  # of `_State.newton`; only with the pooled Hessian, which is linear and fixed
    scales: jax.Array  # (MEMORY, subsets) 1 / (step . change)


class _State(NamedTuple):
    """Arrays over (subsets, contrasts, width + 1) hold the intercepts last."""

    w: jax.Array
    logits: jax.Array  # (subsets, classes, windows)
    value: jax.Array  # (subsets,)
    gradient: jax.Array
    diagonal: jax.Array  # inverse of the Hessian's
    newton: jax.Array  # gradient, times the approximate inverse Hessian without the pairs
    gap: jax.Array  # (subsets,) estimated distance of the value to its minimum
    pairs: "_Pairs"
    least: jax.Array  # (subsets,) least gap so far
    stalled: jax.Array  # (subsets,) steps without progress
    count: jax.Array  # () steps


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # Default precision is TF32 on recent GPUs and bfloat16 on TPUs: not enough for 1e-5.
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _contract(a: jax.Array, b: jax.Array, axis: int) -> jax.Array:
    """Product of matrices over the same axis of both; a transposed copy of either costs more."""
    return lax.dot_general(a, b, (((axis,), (axis,)), ((), ())), precision=lax.Precision.HIGHEST)


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=(-2, -1))


def _spread(features: jax.Array) -> jax.Array:
    """mean(s^2) / mean(s)^2 of the Gram matrix' eigenvalues s, from 8 random probes."""
    squares = jnp.sum(features**2, axis=0)
    probes = jax.random.rademacher(jax.random.key(0), (8, features.shape[1]), features.dtype)
    images = _matmul(_contract(probes, features, 1), features)
    width = jnp.count_nonzero(squares)
    return width * jnp.mean(jnp.sum(images**2, axis=1)) / jnp.sum(squares) ** 2


def _contrasts(classes: int) -> np.ndarray:
    """(classes, classes - 1) orthonormal columns that sum to zero (Helmert)."""
    below = np.arange(1, classes)
    columns = np.triu(np.ones((classes, classes - 1))) - np.diag(below * 1.0, -1)[:, :-1]
    return columns / np.sqrt(below * (below + 1))


def _softmax(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Probabilities over axis 1, the largest logit, exp(logits - it) and the sum of these."""
    top = jnp.max(logits, axis=1, keepdims=True)
    powers = jnp.exp(logits - top)
    total = jnp.sum(powers, axis=1, keepdims=True)
    return powers / total, top, powers, total


def _step_length(slopes, start_slope, active):
    """Minimise a convex function along a direction by safeguarded Newton steps, per subset.

    Args:
        slopes: maps step lengths (subsets,) to first and second derivatives, (subsets,) each.
        start_slope: (subsets,) first derivative at 0, negative.
        active: (subsets,) bool; the others get length 0.

    Returns:
        (subsets,) step lengths where the slope is at most about a tenth of the first.
    """

    def search(state):
        t, low, high, count, _ = state
        first, second = slopes(t)
        ratio = jnp.abs(first) / -start_slope
        low, high = jnp.where(first < 0, t, low), jnp.where(first < 0, high, t)
        newton = t - first / jnp.maximum(second, jnp.finfo(t.dtype).tiny)
        inside = (newton > low) & (newton < high)
        middle = jnp.where(jnp.isinf(high), 4.0 * t, 0.5 * (low + high))
        newton = jnp.where(inside, jnp.minimum(newton, 10.0 * t), middle)
        # From half the slope on, the Newton step arrives: no need to look there.
        done = ~active | (ratio <= 0.1) | (inside & (ratio <= 0.5))
        return jnp.where(active & (ratio > 0.1), newton, t), low, high, count + 1, done

    one = jnp.where(active, jnp.ones_like(start_slope), 0.0)
    state = (one, jnp.zeros_like(one), jnp.full_like(one, jnp.inf), 0, ~active)
    return lax.while_loop(lambda s: ~jnp.all(s[4]) & (s[3] < 20), search, state)[0]


def fit(
    features: jax.Array,
    target: jax.Array,
    train: jax.Array,
    penalty: jax.Array,
    *,
    tolerance: float,
    max_iterations: int,
) -> Fit:
    """Fit one regression per training subset of the same features.

    Args:
        features: (windows, width) raw features.
        target: (classes, windows) one-hot labels.
        train: (subsets, windows), 1 for training windows, 0 for others.
        penalty: (subsets,) weight of 0.5 * ||W||^2.
        tolerance: stop at this estimated distance to the minimum, relative to the objective.
        max_iterations: stop here in any case.

    Returns:
        `Fit`. For two classes this is the symmetric softmax, W_0 = -W_1: twice the penalty
        gives the objective, and the minimum, of one sigmoid with weights W_1 - W_0.
    """
    dtype = features.dtype
    basis = features - jnp.mean(features, axis=0)  # the intercept absorbs the means
    if basis.shape[1] > basis.shape[0]:
        # W lies in the span of the windows (representer theorem). QR instead of the Gram matrix,
        # whose square condition number float32 does not hold.
        basis = jnp.linalg.qr(basis.T, mode="r").T
    n, width = basis.shape
    subsets, classes = train.shape[0], target.shape[0]
    contrasts = _contrasts(classes).astype(dtype)
    free = classes - 1
    shape = (subsets, free, width + 1)
    steep = _spread(basis) > FLAT
    spectrum = jnp.append(jnp.sum(basis**2, axis=0), n)
    penalised = jnp.ones(width + 1, dtype).at[-1].set(0.0)
    weight = penalised * penalty[:, None, None]
    mask = train[:, None, :]
    frequency = jnp.sum(target * mask, axis=2) / jnp.sum(train, axis=1, keepdims=True)
    offset = jnp.where(frequency > 0, 0.0, ABSENT).astype(dtype)[:, :, None]

    def predict(w):
        """Logits without the offset; the contrasts are few: sums, not a product."""
        z = _contract(w[:, :, :-1].reshape(-1, width), basis, 1).reshape(subsets, free, n)
        z = z + w[:, :, -1:]
        return sum(contrasts[:, c, None] * z[:, None, c] for c in range(free))

    def in_contrasts(z):
        return jnp.stack([jnp.sum(contrasts[:, c, None] * z, axis=1) for c in range(free)], axis=1)

    def evaluate(w, logits):
        p, top, powers, total = _softmax(logits)
        # Exact where it is tiny (log1p), by the largest logit so that nothing overflows.
        behind = jnp.sum((top - logits) * target, axis=1)
        others = jnp.sum(jnp.where(target > 0, 0.0, powers), axis=1)
        loss = jnp.where(behind == 0, jnp.log1p(others), jnp.log1p(total[:, 0] - 1) + behind)
        value = jnp.sum(loss * train, axis=1) + 0.5 * _inner(w * w, weight)
        residual = in_contrasts((p - target) * mask)
        gradient = _matmul(residual.reshape(-1, n), basis).reshape(subsets, free, width)
        gradient = jnp.concatenate([gradient, jnp.sum(residual, axis=2, keepdims=True)], axis=2)
        # The Hessian's diagonal, every window weighted alike.
        p = p * mask
        mean = in_contrasts(p)
        squares = jnp.stack(
            [jnp.sum(contrasts[:, c, None] ** 2 * p, axis=1) for c in range(free)], axis=1
        )
        curvature = jnp.sum(squares - mean**2, axis=2, keepdims=True) / n
        diagonal = 1.0 / (jnp.maximum(curvature, 1e-7) * spectrum + weight)
        return value, gradient + w * weight, diagonal

    def pooled(logits):
        """Inverse Cholesky factor of the Hessian, pooled over subsets and contrasts."""
        p = _softmax(logits)[0]
        # Every window by the subsets that train on it; the trace over contrasts is 1 - sum p^2.
        share = jnp.mean(train) * train / jnp.maximum(jnp.sum(train, axis=0), 1.0)
        weights = jnp.sum(share * (1 - jnp.sum(p * p, axis=1)), axis=0) / free
        weighted = weights[:, None] * basis
        edge = jnp.sum(weighted, axis=0)
        hessian = jnp.block([
            [_contract(weighted, basis, 0), edge[:, None]],
            [edge[None], jnp.sum(weights)[None, None]],
        ])
        # What the products have rounded off must not make it indefinite.
        rounding = 4 * jnp.finfo(dtype).eps * jnp.trace(hessian)
        hessian = hessian + jnp.diag(penalised * jnp.mean(penalty) + rounding)
        lower = jnp.linalg.cholesky(hessian, symmetrize_input=False)
        inverse = lax.linalg.triangular_solve(
            lower, jnp.eye(width + 1, dtype=dtype), left_side=True, lower=True
        )
        return inverse, jnp.all(jnp.isfinite(inverse)), 1 + rounding / jnp.min(penalty)

    def nothing(logits):
        return jnp.zeros((width + 1, width + 1), dtype), False, jnp.ones((), dtype)

    def unfinished(s):
        return (s.gap > tolerance * s.value) & (s.stalled < PATIENCE)

    def phase(carry):
        s, until = carry
        inverse, dense, inflation = lax.cond(steep, pooled, nothing, s.logits)

        def solved(q):
            rows = _contract(q.reshape(-1, width + 1), inverse, 1)
            return _matmul(rows, inverse).reshape(q.shape)

        def newton(gradient, diagonal):
            return lax.cond(dense, lambda: solved(gradient), lambda: gradient * diagonal)

        def gap_of(gradient, step):
            # An upper bound whatever was added to the diagonal: the true Hessian is no less than
            # 1 / inflation of the approximate one.
            return 0.5 * inflation * _inner(gradient, step)

        def direction(s):
            steps, changes, images, scales = s.pairs
            q, coefficients = s.gradient, []
            for i in range(MEMORY):
                coefficient = scales[i] * _inner(steps[i], q)
                coefficients.append(coefficient)
                q = q - coefficient[:, None, None] * changes[i]

            def without_product():
                terms = zip(coefficients, images, strict=True)
                return s.newton - sum(c[:, None, None] * image for c, image in terms)

            r = lax.cond(dense, without_product, lambda: q * s.diagonal)
            for i in reversed(range(MEMORY)):
                correction = coefficients[i] - scales[i] * _inner(changes[i], r)
                r = r + correction[:, None, None] * steps[i]
            return -r

        def iterate(s):
            active = unfinished(s)
            step = direction(s)
            slope = _inner(s.gradient, step)
            step = jnp.where((slope < 0)[:, None, None], step, -s.newton)
            slope = _inner(s.gradient, step)
            moved = predict(step)
            moved_true = jnp.sum(moved * target, axis=1)
            bend = _inner(step * weight, step)
            pull = _inner(s.w * weight, step)

            def slopes(t):
                p = _softmax(s.logits + t[:, None, None] * moved)[0]
                mean = jnp.sum(p * moved, axis=1)
                first = jnp.sum((mean - moved_true) * train, axis=1)
                second = jnp.sum((jnp.sum(p * moved**2, axis=1) - mean**2) * train, axis=1)
                return first + pull + t * bend, second + bend

            t = _step_length(slopes, slope, active)[:, None, None]
            w, logits = s.w + t * step, s.logits + t * moved
            value, gradient, diagonal = evaluate(w, logits)
            ahead = newton(gradient, diagonal)
            gap = gap_of(gradient, ahead)
            change = gradient - s.gradient
            product = _inner(t * step, change)
            scale = jnp.where(product > 0, 1.0 / jnp.where(product > 0, product, 1.0), 0.0)
            pairs = jax.tree.map(
                lambda new, old: jnp.concatenate([new[None], old[:-1]]),
                _Pairs(t * step, change, ahead - s.newton, scale),
                s.pairs,
            )
            # At the limit of float32 neither the objective nor the gradient falls any more.
            falls = (value < s.value * (1 - 1e-7)) | (gap < s.least)
            return _State(
                w, logits, value, gradient, diagonal, ahead, gap, pairs,
                jnp.minimum(s.least, gap), jnp.where(falls, 0, s.stalled + 1), s.count + 1,
            )

        ahead = newton(s.gradient, s.diagonal)
        gap = gap_of(s.gradient, ahead)
        images = lax.cond(dense, solved, lambda q: q, s.pairs.changes)
        s = s._replace(newton=ahead, gap=gap, least=gap, pairs=s.pairs._replace(newton=images))
        until_then = jnp.minimum(until, max_iterations)
        s = lax.while_loop(
            lambda s: jnp.any(unfinished(s)) & (s.count < until_then), iterate, s
        )
        return s, GROWTH * until

    # Intercepts start at the class frequencies; a class absent from the subset is switched off.
    intercept = jnp.where(frequency > 0, jnp.log(jnp.maximum(frequency, 1e-30)), 0.0)
    w = jnp.zeros(shape, dtype).at[:, :, -1].set(_matmul(intercept.astype(dtype), contrasts))
    logits = predict(w) + offset
    value, gradient, diagonal = evaluate(w, logits)
    none = jnp.zeros((MEMORY, *shape), dtype)
    pairs = _Pairs(none, none, none, jnp.zeros((MEMORY, subsets), dtype))
    stalled = jnp.zeros(subsets, jnp.int32)
    state = _State(
        w, logits, value, gradient, diagonal, gradient, value, pairs, value, stalled, jnp.int32(0)
    )
    state, _ = lax.while_loop(
        lambda c: jnp.any(unfinished(c[0])) & (c[0].count < max_iterations),
        phase, (state, jnp.int32(RENEWAL)),
    )
    # Once from the weights, without what the updates of the logits have rounded.
    logits = predict(state.w) + offset
    value, _, _ = evaluate(state.w, logits)
    return Fit(logits, value, state.gap / value, state.count)
