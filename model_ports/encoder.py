"""The contract that every converted encoder keeps."""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """What every encoder states about itself; models add their hyper-parameters.

    Attributes:
        name: the encoder's name in the registry.
        sampling_rate_hz: rate of the signal the encoder takes, in Hz (0 for images).
        unit: unit of the signal the encoder takes.
        leads: lead names where the encoder depends on them, else None.
        dtype: compute type, "float32" or "bfloat16"; parameters stay float32.
    """

    name: str
    sampling_rate_hz: float
    unit: str
    leads: tuple[str, ...] | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype is {self.dtype!r}; use 'float32' or 'bfloat16'.")

    def override(self, **overrides: Any) -> Self:
        """Returns a copy with fields replaced.

        Raises:
            InputError: an unknown field, or a value that is not of the field's type.
        """
        known = {field.name: field.type for field in dataclasses.fields(self)}
        if unknown := sorted(set(overrides) - set(known)):
            raise InputError(
                f"{type(self).__name__} has no {', '.join(unknown)}; "
                f"its fields are {', '.join(sorted(known))}."
            )
        return dataclasses.replace(
            self, **{name: _typed(name, known[name], value) for name, value in overrides.items()}
        )


_TYPES = {bool: "True or False", int: "a whole number", float: "a number", tuple: "a sequence"}


def _typed(name: str, declared: Any, value: Any) -> Any:
    """Returns the value of a field, NumPy's types as Python's own, which config.json can hold.

    Raises:
        InputError: it is not of the declared type: the text "False" would count as true.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        value = tuple(value)
    either = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
    kinds = [typing.get_origin(kind) or kind for kind in either]
    wanted = next((kind for kind in kinds if kind in _TYPES), None)
    # an int will do for a float; a bool, which Python counts as int, will not
    if wanted and type(value) not in kinds and not (wanted is float and type(value) is int):
        raise InputError(f"{name} is {value!r}; it must be {_TYPES[wanted]}.")
    return value


Pool = Literal["mean", "max", "cls"]
POOLS: tuple[Pool, ...] = ("mean", "max", "cls")


class Activations(NamedTuple):
    """Pooled tokens of one forward pass.

    Where a layer's input is the output of the one before, both are the same array object.

    Attributes:
        inputs: per layer, its input pooled over tokens, (batch, features) float32.
        outputs: per layer, its output pooled over tokens, (batch, features) float32.
        final: the embedding that the published model ends with, (batch, features), or (batch,
            channels, features) from NormWear, whatever the pooling.
    """

    inputs: tuple[jax.Array, ...]
    outputs: tuple[jax.Array, ...]
    final: jax.Array


class Encoder(nnx.Module):
    """A published encoder as a chain of layers on (batch, tokens, features).

    `run(embed(x), 0, num_layers, context(x))` equals `encoder(x)`. `start` and `stop` are Python
    integers, so that a compiled suffix contains the suffix only.

    Attributes:
        class_token: which token of every layer is the class token, None where there is none.
        has_dropout: whether layers drop values within `model_ports.dropout.dropout`.
    """

    config: EncoderConfig
    class_token: int | None = None
    has_dropout: bool = False

    @property
    def num_layers(self) -> int:
        raise NotImplementedError

    def prepare(
        self,
        recording: np.ndarray | jax.Array,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
    ) -> jax.Array:
        """Returns what the encoder takes, from a raw recording: `encoder(encoder.prepare(...))`.

        The steps are those of BioX-Bridge's data sets unless an option says otherwise; models add
        options of their own. The samples are checked on the host; what is then computed is
        compiled once per shape, rate and option. z-scores run over the samples given.
        Rate, leads and unit are required: None, the default, is refused.

        Args:
            recording: (batch, leads, samples) at one rate, or (leads, samples) for a batch of one.
            sampling_rate_hz: samples per second.
            leads: a name per lead.
            unit: "V", "mV" or "uV"; where the model z-scores, also "a.u." or "counts".

        Returns:
            The signal, float32, batch axis first.

        Raises:
            InputError: rate, leads or unit are missing or unknown; a rate too low for the model's
                band; leads that the model does not take or lacks; NaN or infinite samples; a
                constant lead; a recording that is too short, or of a length the model does not
                take; a call within jit.
        """
        raise NotImplementedError

    def embed(self, signal: jax.Array) -> jax.Array:
        """Returns the input of layer 0, (batch, tokens, features).

        Raises:
            InputError: the signal does not have the shape the model takes.
        """
        raise NotImplementedError

    def context(self, signal: jax.Array) -> Any:
        """Returns what layers need besides the tokens; () for a plain chain."""
        del signal
        return ()

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        """Applies layer `i` alone."""
        raise NotImplementedError

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        """Returns the published embedding, see `Activations.final`, from the last layer's output."""
        del context
        return token_mean(tokens)

    def run(self, tokens: jax.Array, start: int, stop: int, context: Any = ()) -> jax.Array:
        """Applies layers `start` .. `stop`-1 to (batch, tokens, features).

        Raises:
            InputError: the layer range is not within 0 .. num_layers.
        """
        if not 0 <= start <= stop <= self.num_layers:
            raise InputError(
                f"layers {start} to {stop} do not exist: "
                f"{type(self).__name__} has layers 0 to {self.num_layers - 1}."
            )
        for i in range(start, stop):
            tokens = self.layer(i, tokens, context)
        return tokens

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns the last layer's output, (batch, tokens, features)."""
        return self.run(self.embed(signal), 0, self.num_layers, self.context(signal))

    def layer_input(self, i: int, signal: jax.Array) -> jax.Array:
        """Returns all tokens that layer `i` takes, (batch, tokens, features).

        Args:
            i: layer index; `num_layers` stands for the output of the last layer.
            signal: as `embed` takes it.
        """
        return self.run(self.embed(signal), 0, i, self.context(signal))

    def activations(self, signal: jax.Array, pool: Pool = "mean") -> Activations:
        """Returns the pooled tokens of every layer from one pass over the signal.

        Args:
            signal: as `embed` takes it.
            pool: "mean" over tokens, "max" over tokens (each feature on its own), or "cls", the
                class token.

        Raises:
            InputError: an unknown pooling, or "cls" for an encoder without a class token.
        """
        tokens, context = self.embed(signal), self.context(signal)
        pooled = [self.pooled(tokens, pool)]
        for i in range(self.num_layers):
            tokens = self.layer(i, tokens, context)
            pooled.append(self.pooled(tokens, pool))
        return Activations(tuple(pooled[:-1]), tuple(pooled[1:]), self.readout(tokens, context))

    def pooled(self, tokens: jax.Array, pool: Pool) -> jax.Array:
        """Returns a layer's tokens pooled to (batch, features) float32; see `activations`."""
        if pool == "mean":
            return token_mean(tokens)
        if pool == "max":
            return jnp.max(tokens, axis=1).astype(jnp.float32)
        if pool != "cls":
            raise InputError(f"pooling {pool!r} is unknown; use one of {', '.join(POOLS)}.")
        if self.class_token is None:
            raise InputError(f"{self.config.name} has no class token; pool by mean or max.")
        return tokens[:, self.class_token].astype(jnp.float32)

    def layer_shape(self, i: int, signal_shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns (tokens, features) of layer `i`'s input, without running anything.

        Args:
            i: layer index; `num_layers` stands for the output of the last layer.
            signal_shape: shape of the signal, batch axis included.
        """
        signal = jax.ShapeDtypeStruct(tuple(signal_shape), jnp.float32)
        shape = jax.eval_shape(lambda encoder, x: encoder.layer_input(i, x), self, signal).shape
        return shape[1], shape[2]


def token_mean(tokens: jax.Array) -> jax.Array:
    """Returns the mean over the token axis, (batch, features), accumulated in float32."""
    return jnp.mean(tokens.astype(jnp.float32), axis=1)


def check_signal(signal: jax.Array, axes: tuple[str | int, ...], model: str) -> None:
    """Refuses a signal whose axes differ from `axes`: names are free sizes, numbers fixed ones."""
    fits = len(signal.shape) == len(axes) and all(
        isinstance(want, str) or size == want
        for size, want in zip(signal.shape, axes, strict=False)
    )
    if not fits:
        want = ", ".join(str(axis) for axis in axes)
        raise InputError(f"{model} takes a signal of shape ({want}), not {tuple(signal.shape)}.")
