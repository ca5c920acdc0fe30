"""Multinomial logistic regression with an L2 penalty, for many training subsets at once.

Minimised per subset, with logits z = W x + b, is scikit-learn's objective

    0.5 * penalty * ||W||^2 + sum over training windows of cross-entropy(z, label)

with free intercepts b (penalty = 1 / C). Method: the subsets share the features, so that all
their logits are one matrix product; L-BFGS (Nocedal & Wright, Numerical Optimization, alg. 7.5)
starts from the diagonal of the Hessian in a basis where that is nearly the whole of it, namely
the principal axes. Feature spectra of encoders fall like a power law, for which scikit-learn
needs hundreds of steps and this 10 to 20. The change of basis is orthogonal: the penalty is kept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Correction pairs of L-BFGS. With the diagonal known and near-exact line searches 3 converge
# faster than 10 (measured, isotropic and power-law spectra).
MEMORY = 3
# Isotropic noise has an eigenvalue spread of 1 + features / windows <= 2: there the axes do not
# matter and eigh would cost more than the whole solve.
SPREAD_WITHOUT_ROTATION = 4.0
# Steps without any progress after which a fit ends.
PATIENCE = 5
# float32 softmax is exactly 0 below this: the intercept of a class without training windows.
ABSENT = -1e4


class Fit(NamedTuple):
    """What one layer's fits found, for every training subset."""

    logits: jax.Array  # (subsets, classes, windows), of all windows, trained on or not
    objective: jax.Array  # (subsets,)
    gap: jax.Array  # (subsets,) estimated distance to the minimum / objective
    iterations: jax.Array  # () steps of the slowest subset


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # Default precision is TF32 on recent GPUs and bfloat16 on TPUs: not enough for 1e-5.
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=(-2, -1))


def _spread(features: jax.Array) -> jax.Array:
    """mean(s^2) / mean(s)^2 of the Gram matrix' eigenvalues s, from 8 random probes."""
    squares = jnp.sum(features**2, axis=0)
    probes = jax.random.rademacher(jax.random.key(0), (8, features.shape[1]), features.dtype)
    images = _matmul(_matmul(probes, features.T), features)
    width = jnp.count_nonzero(squares)
    return width * jnp.mean(jnp.sum(images**2, axis=1)) / jnp.sum(squares) ** 2


def _principal_axes(features: jax.Array) -> jax.Array:
    _, axes = jnp.linalg.eigh(_matmul(features.T, features))
    return _matmul(features, axes)


def _basis(features: jax.Array) -> jax.Array:
    """Centre (absorbed by the intercept), then rotate to at most as many columns as windows."""
    features = features - jnp.mean(features, axis=0)
    if features.shape[1] > features.shape[0]:
        # W lies in the span of the windows (representer theorem). QR instead of the Gram matrix,
        # whose square condition number float32 does not hold.
        features = jnp.linalg.qr(features.T, mode="r").T
    return lax.cond(
        _spread(features) > SPREAD_WITHOUT_ROTATION, _principal_axes, lambda x: x, features
    )


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Per-window cross-entropy over axis -2, exact where it is tiny (log1p)."""
    true = jnp.sum(logits * target, axis=-2, keepdims=True)
    # Written by the largest logit so that nothing overflows.
    top = jnp.max(logits, axis=-2, keepdims=True)
    rest = jnp.sum(jnp.exp(logits - top), axis=-2) - 1.0
    others = jnp.sum(jnp.where(target > 0, 0.0, jnp.exp(logits - top)), axis=-2)
    is_top = (true == top)[..., 0, :]
    return jnp.where(is_top, jnp.log1p(others), jnp.log1p(rest) + (top - true)[..., 0, :])


def _step_length(slopes, start_slope, active):
    """Minimise a convex function along a direction by safeguarded Newton steps, per subset.

    Args:
        slopes: maps step lengths (subsets,) to first and second derivatives, (subsets,) each.
        start_slope: (subsets,) first derivative at 0, negative.
        active: (subsets,) bool; the others get length 0.

    Returns:
        (subsets,) step lengths where the slope is at most a tenth of the first.
    """

    def search(state):
        t, low, high, count, _ = state
        first, second = slopes(t)
        done = ~active | (jnp.abs(first) <= -0.1 * start_slope)
        low, high = jnp.where(first < 0, t, low), jnp.where(first < 0, high, t)
        newton = t - first / jnp.maximum(second, jnp.finfo(t.dtype).tiny)
        inside = (newton > low) & (newton < high)
        middle = jnp.where(jnp.isinf(high), 4.0 * t, 0.5 * (low + high))
        newton = jnp.where(inside, jnp.minimum(newton, 10.0 * t), middle)
        return jnp.where(done, t, newton), low, high, count + 1, done

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
    basis = _basis(features)
    n = basis.shape[0]
    basis = jnp.concatenate([basis, jnp.ones((n, 1), dtype)], axis=1)
    transposed = basis.T
    spectrum = jnp.sum(basis**2, axis=0)
    width = basis.shape[1]
    subsets, classes = train.shape[0], target.shape[0]
    weight = jnp.ones(width, dtype).at[-1].set(0.0) * penalty[:, None, None]
    mask = train[:, None, :]
    shape = (subsets, classes, width)

    def predict(w):
        return _matmul(w.reshape(-1, width), transposed).reshape(subsets, classes, n)

    def evaluate(w, logits):
        probability = jax.nn.softmax(logits, axis=1)
        residual = ((probability - target) * mask).reshape(-1, n)
        gradient = _matmul(residual, basis).reshape(shape) + w * weight
        loss = jnp.sum(_cross_entropy(logits, target) * train, axis=1)
        value = loss + 0.5 * jnp.sum(w * w * weight, axis=(1, 2))
        # The Hessian's diagonal, with p (1 - p) by its mean; exact for a flat spectrum and zero W.
        curvature = jnp.sum(probability * (1 - probability) * mask, axis=2, keepdims=True) / n
        inverse = 1.0 / (jnp.maximum(curvature, 1e-7) * spectrum + weight)
        gap = 0.5 * _inner(gradient * gradient, inverse)
        return value, gradient, inverse, gap

    def direction(gradient, inverse, pairs):
        steps, changes, scales = pairs  # newest first
        q, coefficients = gradient, []
        for i in range(MEMORY):
            coefficient = scales[i] * _inner(steps[i], q)
            coefficients.append(coefficient)
            q = q - coefficient[:, None, None] * changes[i]
        r = inverse * q
        for i in reversed(range(MEMORY)):
            correction = coefficients[i] - scales[i] * _inner(changes[i], r)
            r = r + correction[:, None, None] * steps[i]
        return -r

    def iterate(state):
        w, logits, value, gradient, inverse, gap, pairs, (least, stalled, count) = state
        active = (gap > tolerance * value) & (stalled < PATIENCE)
        step = direction(gradient, inverse, pairs)
        slope = _inner(gradient, step)
        step = jnp.where((slope < 0)[:, None, None], step, -inverse * gradient)
        slope = _inner(gradient, step)
        moved = predict(step)
        moved_true = jnp.sum(moved * target, axis=1)
        bend = _inner(step * weight, step)
        pull = _inner(w * weight, step)

        def slopes(t):
            p = jax.nn.softmax(logits + t[:, None, None] * moved, axis=1)
            mean = jnp.sum(p * moved, axis=1)
            first = jnp.sum((mean - moved_true) * train, axis=1)
            second = jnp.sum((jnp.sum(p * moved**2, axis=1) - mean**2) * train, axis=1)
            return first + pull + t * bend, second + bend

        t = _step_length(slopes, slope, active)[:, None, None]
        new_w, logits = w + t * step, logits + t * moved
        new_value, new_gradient, inverse, gap = evaluate(new_w, logits)
        change = new_gradient - gradient
        product = _inner(t * step, change)
        scale = jnp.where(product > 0, 1.0 / jnp.where(product > 0, product, 1.0), 0.0)
        pairs = jax.tree.map(
            lambda new, old: jnp.concatenate([new[None], old[:-1]]),
            (t * step, change, scale),
            pairs,
        )
        # At the limit of float32 neither the objective nor the gradient falls any more.
        falls = (new_value < value * (1 - 1e-7)) | (gap < least)
        stalled = jnp.where(falls, 0, stalled + 1)
        progress = (jnp.minimum(least, gap), stalled, count + 1)
        return new_w, logits, new_value, new_gradient, inverse, gap, pairs, progress

    def unfinished(state):
        _, _, value, _, _, gap, _, (_, stalled, count) = state
        active = (gap > tolerance * value) & (stalled < PATIENCE)
        return jnp.any(active) & (count < max_iterations)

    # Intercepts start at the class frequencies; a class absent from the subset is switched off.
    frequency = jnp.sum(target * mask, axis=2) / jnp.sum(train, axis=1, keepdims=True)
    intercept = jnp.where(frequency > 0, jnp.log(jnp.maximum(frequency, 1e-30)), ABSENT)
    w = jnp.zeros(shape, dtype).at[:, :, -1].set(intercept.astype(dtype))
    logits = predict(w)
    pairs = (
        jnp.zeros((MEMORY, *shape), dtype),
        jnp.zeros((MEMORY, *shape), dtype),
        jnp.zeros((MEMORY, subsets), dtype),
    )
    start = evaluate(w, logits)
    progress = (start[-1], jnp.zeros(subsets, jnp.int32), jnp.int32(0))
    state = lax.while_loop(unfinished, iterate, (w, logits, *start, pairs, progress))
    # Once from the weights, without what the updates of the logits have rounded.
    logits = predict(state[0])
    value, _, _, gap = evaluate(state[0], logits)
    return Fit(logits, value, gap / value, state[-1][-1])
