"""Zero-phase Chebyshev-I band passes, computed as matrix products.

The recursion runs over blocks of samples: within a block the output is a product with the impulse
response, and only the state of the filter goes from block to block. SciPy's `cheby1` and `sosfiltfilt`
give the same numbers; importing them takes longer than filtering hours of PPG.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

_BLOCK = 64


class _Recursion(NamedTuple):
    """What a block of samples x and the state s before it make: outputs and the state after it.

    Attributes:
        direct, from_state: outputs are direct @ x + from_state @ s.
        to_state, onward: the state after it is to_state @ x + onward @ s.
        settled: the state after a long constant input of 1.
    """

    direct: np.ndarray
    from_state: np.ndarray
    to_state: np.ndarray
    onward: np.ndarray
    settled: np.ndarray


def zero_phase(
    signal: np.ndarray, order: int, ripple_db: float, band: tuple[float, float], padding: int
) -> np.ndarray:
    """Runs the filter forwards and backwards.

    Both ends are turned about the end samples by `padding` samples, and each run starts from the state
    that the first sample, held for ever, would have left.

    Args:
        signal: (rows, samples) float64, longer than `padding`.
        order: of the low-pass prototype; the band pass has twice as many poles.
        ripple_db: in the pass band.
        band: edges as shares of half the sampling rate.
        padding: samples.

    Returns:
        (rows, samples) float64.
    """
    recursion = _recursion(order, ripple_db, *band)
    before = 2 * signal[:, :1] - signal[:, padding:0:-1]
    after = 2 * signal[:, -1:] - signal[:, -2 : -padding - 2 : -1]
    extended = np.concatenate([before, signal, after], axis=1)
    forwards = _run(extended, recursion)
    return _run(forwards[:, ::-1], recursion)[:, ::-1][:, padding:-padding]


def _run(signal: np.ndarray, recursion: _Recursion) -> np.ndarray:
    rows, samples = signal.shape
    count = -(-samples // _BLOCK)
    blocks = np.zeros((rows, count * _BLOCK))
    blocks[:, :samples] = signal
    blocks = blocks.reshape(rows, count, _BLOCK)
    # State before each block: what each block leaves, carried on by 1, 2, 4 ... blocks.
    states = np.empty((rows, count, len(recursion.settled)))
    states[:, 0] = signal[:, :1] * recursion.settled
    states[:, 1:] = blocks[:, :-1] @ recursion.to_state.T
    onward, far = recursion.onward.T, 1
    while far < count:
        states[:, far:] += states[:, :-far] @ onward
        onward, far = onward @ onward, 2 * far
    out = blocks @ recursion.direct.T
    out += states @ recursion.from_state.T
    return out.reshape(rows, -1)[:, :samples]


@functools.cache
def _recursion(order: int, ripple_db: float, low: float, high: float) -> _Recursion:
    gain, sections = _sections(order, ripple_db, low, high)
    size = 2 * len(sections)

    def step(states: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States (size, n) after one sample, and its outputs (n,)."""
        after = np.empty_like(states)
        inputs = gain * inputs
        for k, (a1, a2) in enumerate(sections):  # numerator 1, 0, -1; transposed direct form II
            outputs = inputs + states[2 * k]
            after[2 * k] = states[2 * k + 1] - a1 * outputs
            after[2 * k + 1] = -inputs - a2 * outputs
            inputs = outputs
        return after, inputs

    states = np.eye(size, size + 1)  # the last one is of an impulse
    inputs = np.eye(1, size + 1, size)[0]
    once = None
    outputs, reached = [], []
    for _ in range(_BLOCK):
        states, found = step(states, inputs)
        once = states if once is None else once
        inputs = np.zeros(size + 1)
        outputs.append(found)
        reached.append(states[:, size])
    outputs = np.array(outputs)
    lag = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    return _Recursion(
        direct=np.where(lag >= 0, outputs[:, size][np.maximum(lag, 0)], 0.0),
        from_state=outputs[:, :size],
        to_state=np.array(reached[::-1]).T,
        onward=states[:, :size],
        settled=np.linalg.solve(np.eye(size) - once[:, :size], once[:, size]),
    )


def _sections(
    order: int, ripple_db: float, low: float, high: float
) -> tuple[float, list[tuple[float, float]]]:
    """Gain, and per section a1 and a2 of (1 - z^-2) / (1 + a1 z^-1 + a2 z^-2).

    The analogue prototype (poles on an ellipse) is made a band pass and brought to z by the bilinear
    transform; see Oppenheim and Schafer, Discrete-Time Signal Processing, chapter 7.
    """
    ripple = math.sqrt(10 ** (ripple_db / 10) - 1)
    angles = np.pi * np.arange(1 - order, order, 2) / (2 * order)
    prototype = -np.sinh(math.asinh(1 / ripple) / order + 1j * angles)
    gain = np.prod(-prototype).real / (1 if order % 2 else math.hypot(1, ripple))
    edges = 4 * np.tan(np.pi * np.array([low, high]) / 2)
    width, middle = edges[1] - edges[0], math.sqrt(edges[0] * edges[1])
    shift = np.sqrt((prototype * width / 2) ** 2 - middle**2 + 0j)
    poles = np.concatenate([prototype * width / 2 + shift, prototype * width / 2 - shift])
    gain *= (width**order * 4**order / np.prod(4 - poles)).real
    poles = (4 + poles) / (4 - poles)
    real = np.abs(poles.imag) < 1e-12
    pairs = [(p, p.conjugate()) for p in poles[~real] if p.imag > 0]
    lone = np.sort(poles[real].real)  # of an odd order and a wide band
    pairs += list(zip(lone[::2], lone[1::2], strict=True))
    return float(gain), [(-(p + q).real, (p * q).real) for p, q in pairs]
