"""Training a bridge on captured bridge inputs and last-layer targets."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxbridge import losses, training
from jaxbridge.bridge import Layout, PrototypeBridge
from jaxbridge.bridged_model import BridgedModel, Position, check_position
from jaxbridge.fitting import Epoch, fit
from jaxbridge.head import TaskHead
from model_ports import Encoder


@dataclasses.dataclass(frozen=True)
class BridgeSettings:
    """What bridge is trained, and how.

    Attributes:
        rank: rank of the low-rank map.
        num_prototypes: number of prototypes.
        layout: "paper", or "reinterpret" for the authors' LaBraM layout, see `PrototypeBridge`.
        learning_rate: Adam's constant rate, no weight decay.
        epochs: passes over the pair windows; the last state is kept, as in the paper.
        batch_size: windows per step.
    """

    rank: int = 32
    num_prototypes: int = 50
    layout: Layout = "paper"
    learning_rate: float = 1e-3
    epochs: int = 50
    batch_size: int = 16


def new_bridge(
    new: Encoder, old: Encoder, position: Position, shapes: tuple[tuple[int, ...], tuple[int, ...]],
    settings: BridgeSettings, *, seed: int,
) -> PrototypeBridge:
    """Returns an untrained bridge that fits between two encoders.

    Args:
        new, old: the encoders.
        position: (m, l).
        shapes: shapes of a batch of new and of old signals.
        settings: see `BridgeSettings`.
        seed: fixes the initial values.
    """
    m, l = check_position(position, new, old)  # noqa: E741
    _, in_features = new.layer_shape(m + 1, shapes[0])
    tokens, features = old.layer_shape(l, shapes[1])
    if l == old.num_layers:
        tokens = 1
    return PrototypeBridge(
        in_features, tokens, features, rank=settings.rank,
        num_prototypes=settings.num_prototypes, layout=settings.layout, rngs=nnx.Rngs(seed),
    )


def _alignment_loss(suffix, batch):
    values = losses.cosine(suffix.last_layer(batch["pooled"]), batch["target"])
    return values, jnp.ones_like(values)


def bridge_trainer(model: BridgedModel, settings: BridgeSettings, **kwargs) -> training.Trainer:
    """Returns a trainer of the bridge alone; a step runs it and the old layers behind it."""
    suffix = model.suffix
    leaf_labels = training.labels(suffix, lambda path: path.startswith("bridge."))
    return training.Trainer(
        suffix, _alignment_loss, leaf_labels, optax.adam(settings.learning_rate), **kwargs
    )


def train_bridge(
    new: Encoder, old: Encoder, head: TaskHead, bridge: PrototypeBridge, position: Position,
    pairs: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray],
    settings: BridgeSettings, *, seed: int, what: str = "training the bridge",
) -> tuple[BridgedModel, list[Epoch]]:
    """Trains the bridge; both encoders and the head stay as they are, bit by bit.

    Args:
        new, old: the frozen encoders.
        head: the frozen task head.
        bridge: the untrained bridge.
        position: (m, l).
        pairs: bridge inputs (windows, in_features) and targets (windows, tokens, features).
        val: the same for validation.
        settings: see `BridgeSettings`.
        seed: fixes the order of windows.
        what: for progress and messages.

    Raises:
        InputError: a position outside the encoders, a batch larger than the data, a loss that is
            not finite.
    """
    model = BridgedModel(new, old, bridge, head, position)
    trainer = bridge_trainer(model, settings)
    curve = fit(
        trainer, _as_batch(pairs), _as_batch(val), epochs=settings.epochs,
        batch_size=settings.batch_size, seed=seed, keep_best=False, what=what,
    )
    trained = trainer.module().bridge
    return BridgedModel(new, old, trained, head, position), curve


def _as_batch(pair: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    return {"pooled": pair[0], "target": pair[1]}
