"""Recurrence plot: how far the signal is from itself at every pair of times."""

import dataclasses

import jax
import jax.numpy as jnp

from model_ports.representations.color_maps import colored
from model_ports.representations.pixels import area_taps
from model_ports.representations.representation import Colored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrence(Colored):
    """Distances |x(t) - x(t')| between all samples, both times from the lower left corner.

    Tiny-BioMoE (arXiv 2507.21875) gives neither threshold nor embedding. Taken is the recurrence
    plot without threshold and without delays (Eckmann et al., 1987, before the step function),
    the default of the package pyts; a threshold would leave two colours. From zero to the
    signal's whole range spans the colour map; a pixel is the mean of all pairs in its area.
    """

    def _draw(self, signal: jax.Array) -> jax.Array:
        at, share = area_taps(signal.shape[1], self.size)
        taps, parts = at.shape[1], jnp.asarray(share)
        low, high = (f(signal, axis=1)[:, None] for f in (jnp.min, jnp.max))
        values = signal / jnp.where(high > low, high - low, 1)
        near = [values[:, at[:, b]] for b in range(taps)]

        def add(a: jax.Array, total: jax.Array) -> jax.Array:
            here = jnp.take(values, jnp.asarray(at)[:, a], axis=1)[:, ::-1, None]
            row = sum(parts[:, b] * jnp.abs(here - near[b][:, None]) for b in range(taps))
            return total + parts[::-1, a, None] * row

        start = jnp.zeros((signal.shape[0], self.size, self.size), jnp.float32)
        return colored(jax.lax.fori_loop(0, taps, add, start), self.color_map)
