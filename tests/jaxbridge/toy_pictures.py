"""A small encoder of pictures: patches of 4 pixels, two layers, an embedding of six numbers."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports import Encoder, EncoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyPicturesConfig(EncoderConfig):
    name: str = "toy_pictures"
    sampling_rate_hz: float = 0.0
    unit: str = "intensity 0..1"
    image_size: int = 32


class ToyPictures(Encoder):
    """(batch, 3, 32, 32) -> 64 tokens of 6 features."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.config = ToyPicturesConfig()
        self.patch = nnx.Linear(48, 6, rngs=rngs)
        self.linears = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])

    @property
    def num_layers(self) -> int:
        return 2

    def embed(self, signal: jax.Array) -> jax.Array:
        patches = signal.reshape(-1, 3, 8, 4, 8, 4).transpose(0, 2, 4, 1, 3, 5)
        return jnp.tanh(self.patch(patches.reshape(len(signal), 64, 48)))

    def layer(self, i: int, tokens: jax.Array, context: tuple) -> jax.Array:
        return jnp.tanh(3 * self.linears[i](tokens))
