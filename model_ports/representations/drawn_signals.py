"""An encoder of pictures as an encoder of signals, which are drawn first."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.encoder import Activations, Encoder, EncoderConfig, Pool
from model_ports.errors import InputError
from model_ports.recording_checks import check_description
from model_ports.representations.registry import check_finite, representation
from model_ports.representations.representation import Representation


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnSignalsConfig(EncoderConfig):
    """What is drawn, and what looks at it.

    Attributes:
        encoder: configuration of the encoder of pictures.
        drawn_as: how signals become pictures.
    """

    encoder: EncoderConfig
    drawn_as: Representation


class DrawnSignals(Encoder):
    """Takes signals where the wrapped encoder takes pictures: (batch, samples) or (batch, 1, samples).

    Layers, context and embedding are those of the wrapped encoder, so that feature stores, the
    scanner and bridges work on signals as on any other encoder. Drawing is part of the compiled
    pass.
    """

    def __init__(self, encoder: Encoder, drawn_as: Representation):
        self.config = DrawnSignalsConfig(
            name=f"{encoder.config.name}_{drawn_as.name}", sampling_rate_hz=0.0, unit="a.u.",
            dtype=encoder.config.dtype, encoder=encoder.config, drawn_as=drawn_as,
        )
        self.encoder = encoder
        self.class_token = encoder.class_token

    @property
    def num_layers(self) -> int:
        return self.encoder.num_layers

    def prepare(
        self,
        recording: np.ndarray | jax.Array,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
    ) -> jax.Array:
        """Takes out each signal's mean in float64; a picture shows neither rate nor unit.

        Args:
            recording: (batch, 1, samples), or (1, samples) for a batch of one.
            sampling_rate_hz, leads, unit: as for every encoder; one lead of any name.

        Returns:
            (batch, 1, samples) float32.

        Raises:
            InputError: more than one lead, NaN or infinite samples, too few of them, or as for
                `Encoder.prepare`. A constant lead is drawn as such.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model=self.config.name,
            min_sampling_rate_hz=0,
        )
        check_finite(_one_lead(given.signal, self.config.name))
        centred = given.signal - given.signal.mean(axis=-1, keepdims=True, dtype=np.float64)
        return jnp.asarray(centred, jnp.float32)

    def picture(self, signal: jax.Array) -> jax.Array:
        """Signals -> what the wrapped encoder takes, (batch, 3, size, size)."""
        return self.config.drawn_as(_one_lead(signal, self.config.name))

    def embed(self, signal: jax.Array) -> jax.Array:
        return self.encoder.embed(self.picture(signal))

    def context(self, signal: jax.Array) -> Any:
        return self.encoder.context(self.picture(signal))

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        return self.encoder.layer(i, tokens, context)

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        return self.encoder.readout(tokens, context)

    def run(self, tokens: jax.Array, start: int, stop: int, context: Any = ()) -> jax.Array:
        return self.encoder.run(tokens, start, stop, context)

    def __call__(self, signal: jax.Array) -> jax.Array:
        return self.encoder(self.picture(signal))

    def layer_input(self, i: int, signal: jax.Array) -> jax.Array:
        return self.encoder.layer_input(i, self.picture(signal))

    def activations(self, signal: jax.Array, pool: Pool = "mean") -> Activations:
        return self.encoder.activations(self.picture(signal), pool)

    def pooled(self, tokens: jax.Array, pool: Pool) -> jax.Array:
        return self.encoder.pooled(tokens, pool)

    def layer_shape(self, i: int, signal_shape: tuple[int, ...]) -> tuple[int, int]:
        drawn = jax.eval_shape(self.picture, jax.ShapeDtypeStruct(signal_shape, jnp.float32))
        return self.encoder.layer_shape(i, drawn.shape)


def _one_lead(signal: jax.Array | np.ndarray, name: str) -> jax.Array | np.ndarray:
    """Signals of one lead as (batch, samples)."""
    if signal.ndim == 3 and signal.shape[1] == 1:
        return signal[:, 0]
    if signal.ndim != 2:
        raise InputError(
            f"{name} draws one lead at a time: signals must be (batch, samples) or "
            f"(batch, 1, samples), not {tuple(signal.shape)}; give each lead as a signal of its own."
        )
    return signal


def drawn_signals(
    encoder: Encoder, drawn_as: str | Representation = "waveform", **settings: Any
) -> DrawnSignals:
    """Returns an encoder of pictures as one of signals.

    Args:
        encoder: such as `model_ports.create("tiny_biomoe")`. Its weights are shared, not copied.
        drawn_as: a name out of `REPRESENTATIONS`, or a `Representation`.
        settings: of the representation, with a name; its size is the encoder's image size.

    Raises:
        InputError: an encoder that takes no pictures, or a representation that is not there.
    """
    size = getattr(encoder.config, "image_size", None)
    if size is None:
        raise InputError(f"{encoder.config.name} takes signals; only pictures have to be drawn.")
    if isinstance(drawn_as, str):
        drawn_as = representation(drawn_as, **{"size": size, **settings})
    if drawn_as.size != size:
        raise InputError(
            f"{encoder.config.name} takes pictures of {size} pixels, the {drawn_as.name} has "
            f"{drawn_as.size}; set its size to {size}."
        )
    return DrawnSignals(encoder, drawn_as)
