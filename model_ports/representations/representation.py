"""What every picture of a signal has in common."""

import dataclasses

import jax
import jax.numpy as jnp

from model_ports.errors import InputError
from model_ports.representations.color_maps import table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Representation:
    """Draws signals. Neither the scale nor the mean of a signal shows, nor its sampling rate.

    Attributes:
        size: height and width of the picture in pixels.
    """

    size: int = 224

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size={self.size} must be at least 1 pixel.")

    @property
    def name(self) -> str:
        """As in `registry.REPRESENTATIONS`."""
        return type(self).__name__.lower()

    @property
    def min_samples(self) -> int:
        """Samples that the shortest signal has."""
        return 2

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Draws finite signals, also within jit: (batch, samples) -> (batch, 3, size, size).

        Raises:
            InputError: another shape, or too few samples.
        """
        if signal.ndim != 2:
            raise InputError(f"a picture is drawn of (batch, samples), not {tuple(signal.shape)}.")
        if signal.shape[1] < self.min_samples:
            raise InputError(
                f"the {self.name} takes at least {self.min_samples} samples, not "
                f"{signal.shape[1]}; take longer windows{self._remedy}."
            )
        signal = jnp.asarray(signal, jnp.float32)
        centred = signal - jnp.mean(signal, axis=1, keepdims=True)
        peak = jnp.max(jnp.abs(centred), axis=1, keepdims=True)
        return self._draw(centred / jnp.where(peak > 0, peak, 1))

    @property
    def _remedy(self) -> str:
        return ""

    def _draw(self, signal: jax.Array) -> jax.Array:
        """(batch, samples) of mean 0 and peak 1 -> the pictures."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Colored(Representation):
    """A picture whose colours stand for numbers.

    Attributes:
        color_map: one of `color_maps.COLOR_MAPS`. The papers name none: viridis is Matplotlib's.
    """

    color_map: str = "viridis"

    def __post_init__(self) -> None:
        super().__post_init__()
        table(self.color_map)
