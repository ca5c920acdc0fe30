"""Waveform: the signal drawn as a line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.errors import InputError
from model_ports.representations.representation import Representation

_GROUND = np.array([255, 255, 255]) / 255
_LINE = np.array([31, 119, 180]) / 255
_MARGIN = 0.05
_COLUMNS = 6  # sample points per pixel along time; across, areas are exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waveform(Representation):
    """An antialiased line on white, time to the right, from the signal's lowest to its highest.

    Tiny-BioMoE (arXiv 2507.21875), PainFormer and Twins-PainViT (arXiv 2407.19809) draw waveforms
    and give no style. Taken is Matplotlib's at 100 dots per inch, without axes: its first blue,
    1.5 points wide with round joins, and a margin of 1/20 of the data's extent on each side.

    The area of a line of width 2r is the signal dilated by a disk of radius r. Since a signal has
    one value at a time, it is everything between two curves, the upper and the lower envelope of
    the disk rolled along it: two numbers per column whatever the number of samples.

    Attributes:
        line_width: in pixels.
    """

    line_width: float = 1.5 * 100 / 72

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.line_width > 0:
            raise InputError(f"line_width={self.line_width} must be above 0 pixels.")

    def _draw(self, signal: jax.Array) -> jax.Array:
        low, high = (f(signal, axis=1, keepdims=True) for f in (jnp.min, jnp.max))
        flat = high <= low
        height = jnp.where(flat, 0.5, (high - signal) / jnp.where(flat, 1, high - low))
        path = self.size * (_MARGIN + height) / (1 + 2 * _MARGIN)
        bottom, top = self._envelopes(path)
        row = jnp.arange(self.size, dtype=jnp.float32)[:, None]

        # A loop keeps XLA from doing it all again for each of the three colours; of two rounds it is
        # left a loop, and sums go through memory twice rather than six times.
        def add(i: int, total: jax.Array) -> jax.Array:
            inside = jnp.minimum(bottom[:, i], row + 1) - jnp.maximum(top[:, i], row)
            return total + jnp.maximum(inside, 0)

        start = jnp.zeros((signal.shape[0], self.size, self.size), jnp.float32)
        covered = jax.lax.fori_loop(0, _COLUMNS, add, start, unroll=_COLUMNS // 2) / _COLUMNS
        ground, line = (jnp.asarray(c, jnp.float32)[:, None, None] for c in (_GROUND, _LINE))
        return ground + covered[:, None] * (line - ground)

    def _envelopes(self, path: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Heights in pixels from the top, (batch, samples) -> where the line's area ends and begins.

        Returns:
            Bottom and top, both (batch, _COLUMNS, 1, size); the same where there is no line.
        """
        samples, radius = path.shape[1], self.line_width / 2
        step = self.size / (1 + 2 * _MARGIN) / (samples - 1)
        start = self.size * _MARGIN / (1 + 2 * _MARGIN)
        points = np.arange(self.size) + (np.arange(_COLUMNS)[:, None] + 0.5) / _COLUMNS - start
        points = points.ravel()
        first = np.floor((points - radius) / step).astype(np.int32)
        # The batch comes last: the same segments of all signals lie side by side.
        path = path.T
        slopes = (path[1:] - path[:-1]) / step
        # The disk touches where the line has its slope, or at an end of the segment.
        touches = radius * slopes * jax.lax.rsqrt(1 + jnp.square(slopes))

        def widen(k: int, curves: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            """Takes in the k-th of the segments that may reach each point."""
            segment = jnp.clip(first + k, 0, samples - 2)
            begin, slope, touch = path[segment], slopes[segment], touches[segment]
            left = (segment * step - points).astype(jnp.float32)[:, None]  # from the point
            found = []
            for side, curve in zip((1, -1), curves, strict=True):
                at = jnp.clip(side * touch, left, left + step)
                disk = jnp.sqrt(jnp.maximum(radius**2 - jnp.square(at), 0))
                edge = side * (begin + slope * (at - left)) + disk
                found.append(jnp.where(jnp.abs(at) <= radius, jnp.maximum(curve, edge), curve))
            return found[0], found[1]

        none = jnp.full((len(points), path.shape[1]), -jnp.inf)
        count = int(np.ceil(self.line_width / step)) + 1
        bottom, top = jax.lax.fori_loop(0, count, widen, (none, none))
        shape = (path.shape[1], _COLUMNS, 1, self.size)
        return tuple(jnp.where(bottom > -top, y, -1).T.reshape(shape) for y in (bottom, -top))
