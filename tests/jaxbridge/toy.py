"""An encoder that is no chain: every layer is scaled by something only the signal tells."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports import Encoder, EncoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(EncoderConfig):
    name: str = "toy"
    sampling_rate_hz: float = 1.0
    unit: str = "1"


class Toy(Encoder):
    """(batch, 4, 3) -> 4 tokens of 3 features, two layers; context is {"gain": (batch, 3)}."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.config = ToyConfig()
        self.linears = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])

    @property
    def num_layers(self) -> int:
        return 2

    def embed(self, signal: jax.Array) -> jax.Array:
        return jnp.asarray(signal)

    def context(self, signal: jax.Array) -> dict[str, jax.Array]:
        return {"gain": 1 + jnp.abs(signal).mean(axis=1)}

    def layer(self, i: int, tokens: jax.Array, context: dict[str, jax.Array]) -> jax.Array:
        return jnp.tanh(self.linears[i](tokens) * context["gain"][:, None])
