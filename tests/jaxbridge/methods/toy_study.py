"""Two small encoders and paired windows made from one latent state, on which every method works."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, methods
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.methods import Method, Optimisation, StudyData
from model_ports import Encoder, EncoderConfig
from tests.jaxbridge.toy import Toy

SETTINGS = TransferSettings(
    "old", "new", position=(1, 1), head=HeadSettings(epochs=60, learning_rate=1e-2),
    bridge=BridgeSettings(rank=3, num_prototypes=6, epochs=25, batch_size=16, learning_rate=2e-2),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainConfig(EncoderConfig):
    name: str = "chain"
    sampling_rate_hz: float = 1.0
    unit: str = "1"


class Chain(Encoder):
    """(batch, 12) -> 3 tokens, two layers of `width` features."""

    def __init__(self, width: int = 8, *, rngs: nnx.Rngs):
        self.config = ChainConfig()
        self.linears = nnx.List([
            nnx.Linear(4, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)
        ])

    @property
    def num_layers(self) -> int:
        return 2

    def embed(self, signal: jax.Array) -> jax.Array:
        return jnp.asarray(signal).reshape(signal.shape[0], 3, 4)

    def layer(self, i: int, tokens: jax.Array, context: tuple) -> jax.Array:
        return jnp.tanh(self.linears[i](tokens))


def windows(seed: int = 0) -> ArrayWindows:
    """Returns 192 windows of 16 subjects, 4 in each split; the sign of one latent is the class.

    "old" is (windows, 4, 3), as `Toy` takes it, "new" (windows, 12).
    """
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(16), 12)
    labels = np.tile([0, 1], 96)
    latent = rng.standard_normal((192, 3))
    latent[:, 0] = (2 * labels - 1) * (1.2 + 0.3 * rng.standard_normal(192))
    old, new = (
        latent @ rng.standard_normal((3, 12)) * 0.6 + 0.1 * rng.standard_normal((192, 12))
        for _ in range(2)
    )
    splits = np.repeat(["train", "val", "pair", "test"], 48)
    names = np.array([f"S{i:02d}" for i in range(16)])[subjects]
    return ArrayWindows(
        {"old": old.reshape(-1, 4, 3), "new": new}, labels, splits, ("low", "high"), names
    )


def encoders(width: int = 8) -> tuple[Encoder, Encoder]:
    return Toy(rngs=nnx.Rngs(3)), Chain(width, rngs=nnx.Rngs(4))


def prepare(folder: pathlib.Path, given: ArrayWindows, width: int = 8) -> StudyData:
    return StudyData.prepare(given, *encoders(width), SETTINGS, out=folder)


def leaves(module: nnx.Module) -> dict[str, np.ndarray]:
    """Returns a module's leaves by path."""
    return {
        ".".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def small(name: str) -> Method:
    """Returns a method with settings that suit the toy."""
    method = methods.method(name)
    if hasattr(method, "optimisation"):
        keep = method.optimisation.keep
        method = dataclasses.replace(method, optimisation=Optimisation(2e-2, keep=keep))
    if name == "LoRA":
        return dataclasses.replace(method, rank=2)
    if name == "signal translation":
        return dataclasses.replace(method, hidden=4)
    if name == "oracle, unfrozen":
        return dataclasses.replace(method, head=HeadSettings(True, epochs=25, learning_rate=2e-2))
    return method
