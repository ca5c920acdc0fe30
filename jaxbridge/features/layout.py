"""Pooled features of all layers side by side in one row per window.

One array leaves the devices per batch in place of one per layer and side, and what two layers share
(the output of one is the input of the next, in a chain) is in it once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model_ports import Activations, Encoder
from model_ports.encoder import Pool


@dataclass(frozen=True)
class FeatureLayout:
    """Where each layer's features are in a row.

    Attributes:
        shapes: array name ("input_0", "output_0", ..., "final") -> shape per window, in the order
            in which they stand in a row.
        same: name of an array that is another one -> that one's name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    same: Mapping[str, str]

    @classmethod
    def of(
        cls, encoder: Encoder, signal_shape: Sequence[int], pool: Pool = "mean"
    ) -> "FeatureLayout":
        """Traces the encoder on one signal without running it.

        Two arrays count as the same only where `encoder.activations` returns one and the same
        array object, which no choice of weights or signal can make wrong.

        Args:
            encoder: any encoder.
            signal_shape: shape of one signal, without batch axis.
            pool: as for `encoder.activations`.

        Raises:
            InputError: the encoder does not take such a signal, or not this pooling.
        """
        same: dict[str, str] = {}

        def different(encoder: Encoder, signal: jax.Array) -> dict[str, jax.Array]:
            named = _named(encoder.activations(signal, pool))
            first: dict[int, str] = {}
            for name, array in named.items():
                if (known := first.setdefault(id(array), name)) != name:
                    same[name] = known
            return {name: array for name, array in named.items() if name not in same}

        signal = jax.ShapeDtypeStruct((1, *signal_shape), jnp.float32)
        shapes = jax.eval_shape(different, encoder, signal)
        # A pytree's dictionaries come back sorted; rows are in the order of the layers.
        ordered = [name for name in _names(encoder.num_layers) if name in shapes]
        return cls({name: tuple(shapes[name].shape[1:]) for name in ordered}, same)

    @property
    def num_layers(self) -> int:
        return (len(self.shapes) + len(self.same) - 1) // 2

    @property
    def row_width(self) -> int:
        """Numbers per window."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape per window of any array, shared ones included."""
        return self.shapes[self.same.get(name, name)]

    def columns(self) -> dict[str, slice]:
        """Array name -> its columns of a row, shared ones left out."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            found[name] = slice(start, stop)
            start = stop
        return found

    def function(self, pool: Pool) -> Callable[[Encoder, jax.Array], jax.Array]:
        """Returns (encoder, signals) -> rows, (batch, row_width) float32."""
        return _Rows(tuple(self.shapes), pool)

    def activations(self, rows: np.ndarray) -> Activations:
        """Views of (windows, row_width) rows as the activations that they were made from."""
        columns = self.columns()

        def array(name: str) -> np.ndarray:
            return rows[:, columns[self.same.get(name, name)]].reshape(-1, *self.shape(name))

        return Activations(
            tuple(array(f"input_{i}") for i in range(self.num_layers)),
            tuple(array(f"output_{i}") for i in range(self.num_layers)),
            array("final"),
        )


@dataclass(frozen=True)
class _Rows:
    """Equal for equal layouts, so that it is compiled once."""

    names: tuple[str, ...]
    pool: Pool

    def __call__(self, encoder: Encoder, signal: jax.Array) -> jax.Array:
        named = _named(encoder.activations(signal, self.pool))
        parts = [named[name].astype(jnp.float32) for name in self.names]
        return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _names(num_layers: int) -> list[str]:
    pairs = ((f"input_{i}", f"output_{i}") for i in range(num_layers))
    return [*(name for pair in pairs for name in pair), "final"]


def _named(found: Activations) -> dict[str, Any]:
    pairs = zip(found.inputs, found.outputs, strict=True)
    arrays = [*(array for pair in pairs for array in pair), found.final]
    return dict(zip(_names(len(found.inputs)), arrays, strict=True))
