"""Training a bridge on captured bridge inputs and targets."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.bridge import Layout, PrototypeBridge
from jaxbridge.bridged_model import BridgedModel, Position, check_position
from jaxbridge.head import TaskHead
from jaxbridge.training import engine, losses, optimizers, trainable
from jaxbridge.training.alignment import AlignmentSettings, Location, alignment_loss
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.engine import Batch
from jaxbridge.training.fitting import Epoch, EpochReport, fit
from jaxbridge.training.optimizers import OptimizerSettings, Schedule
from jaxbridge.training.sources import Source
from jaxbridge.training.target_cache import TargetKind
from model_ports import Encoder
from model_ports.encoder import Pool
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class BridgeSettings:
    """What bridge is trained, and how. The defaults are the paper's, where it states them.

    Attributes:
        rank: rank of the low-rank map.
        num_prototypes: number of prototypes.
        prototypes: "random" (standard normal), or "real" for tokens of the old encoder at the place
            that the bridge stands in for, drawn from the pair windows.
        start: "random" (paper; A and the prototypes random, B zero), or "ridge" for the best linear
            map of this rank in closed form, see `closed_form`: steadier with few pairs.
        pool: how the new encoder's tokens become the bridge's input: "mean", "max" or "cls".
        layout: "paper", or "reinterpret" for the authors' LaBraM layout, see `PrototypeBridge`.
        loss, location, temperature, logit_weight: see `AlignmentSettings`.
        trainable: what moves: "bridge", "bridge_and_head", "bridge_and_old_norms", "prototypes" or
            "low_rank".
        learning_rate, schedule, warmup_steps, clip_norm, weight_decay: see `OptimizerSettings`.
        epochs: passes over the pair windows; 0 with start "ridge" alone, which is then the bridge.
        batch_size: windows per step.
        keep: "last" state (paper), or the one of the "best" validation loss.
        patience: stop after so many epochs without a lower validation loss; None for never.
        remat: compute the old layers' activations again in the backward pass; saves memory.
    """

    rank: int = 32
    num_prototypes: int = 50
    prototypes: Literal["random", "real"] = "random"
    start: Literal["random", "ridge"] = "random"
    pool: Pool = "mean"
    layout: Layout = "paper"
    loss: str = "cosine"
    location: Location = "last_layer"
    temperature: float = 0.1
    logit_weight: float = 0.0
    trainable: str = "bridge"
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    weight_decay: float = 0.0
    epochs: int = 50
    batch_size: int = 16
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        choices = {
            "prototypes": ("random", "real"), "start": ("random", "ridge"), "keep": ("last", "best")
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; use {' or '.join(known)}.")
        if self.start == "ridge" and self.prototypes == "real":
            raise InputError(
                "start='ridge' brings its own prototypes; leave prototypes at 'random'."
            )
        if self.epochs < 0 or (self.epochs == 0 and self.start == "random"):
            raise InputError(
                f"epochs is {self.epochs}; it must be at least 1, or 0 with start='ridge'."
            )
        for name in ("rank", "num_prototypes", "batch_size", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1.")
        if self.loss == losses.CONTRASTIVE and self.batch_size == 1:
            raise InputError(
                f"loss='{losses.CONTRASTIVE}' tells the windows of a batch apart; batch_size must be "
                "at least 2."
            )
        trainable.preset(self.trainable)
        if self.trainable == "bridge_and_head" and not self.logit_weight:
            raise InputError(
                "trainable='bridge_and_head' needs logit_weight > 0: the alignment loss does not "
                "reach the head, which would stay as it is."
            )
        _ = self.alignment, self.optimizer  # both check their part

    @property
    def alignment(self) -> AlignmentSettings:
        return AlignmentSettings(self.loss, self.location, self.temperature, self.logit_weight)

    def num_steps(self, num_pairs: int) -> int:
        """Returns the steps of a run over that many pair windows."""
        return -(-num_pairs // max(1, self.batch_size)) * self.epochs

    @property
    def optimizer(self) -> OptimizerSettings:
        return OptimizerSettings(
            self.learning_rate, self.schedule, self.warmup_steps, self.clip_norm, self.weight_decay
        )


def target_kind(old: Encoder, position: Position, location: Location) -> TargetKind:
    """Returns which of the old encoder's tokens a bridge is trained to reproduce."""
    stop = old.num_layers if location == "last_layer" else position.l
    return TargetKind(stop, pooled=position.l == old.num_layers)


def new_bridge(
    new: Encoder, old: Encoder, position: Position, shapes: tuple[tuple[int, ...], tuple[int, ...]],
    settings: BridgeSettings, *, seed: int, prototypes: np.ndarray | None = None,
) -> PrototypeBridge:
    """Returns an untrained bridge that fits between two encoders.

    Args:
        new, old: the encoders.
        position: (m, l).
        shapes: shapes of a batch of new and of old signals.
        settings: see `BridgeSettings`.
        seed: fixes the initial values.
        prototypes: initial prototypes, (num_prototypes, features); None for random ones.
    """
    m, l = check_position(position, new, old)  # noqa: E741
    # Not the next layer's input: between two parts of an encoder the two may differ.
    prefix = functools.partial(_prefix, stop=m + 1)
    signal = jax.ShapeDtypeStruct(tuple(shapes[0]), jnp.float32)
    in_features = jax.eval_shape(prefix, new, signal).shape[2]
    tokens, features = old.layer_shape(l, shapes[1])
    if l == old.num_layers:
        tokens = 1
    return PrototypeBridge(
        in_features, tokens, features, rank=settings.rank,
        num_prototypes=settings.num_prototypes, layout=settings.layout, rngs=nnx.Rngs(seed),
        prototypes=prototypes,
    )


def _prefix(encoder: Encoder, signal: jax.Array, stop: int) -> jax.Array:
    return encoder.run(encoder.embed(signal), 0, stop, encoder.context(signal))


def bridge_trainer(
    model: BridgedModel, settings: BridgeSettings, *, steps: int | None = None,
    devices: list[jax.Device] | None = None,
) -> engine.Trainer:
    """Returns a trainer of the bridge; a step runs it and the old layers behind it.

    Args:
        model: with the bridge as it starts.
        settings: see `BridgeSettings`.
        steps: steps of the whole run, which a decaying schedule needs.
        devices: see `Trainer`.

    Raises:
        InputError: a decaying schedule without `steps`, or a warm-up as long as the run.
    """
    if steps is None and settings.schedule != "constant":
        raise InputError(f"schedule {settings.schedule!r} needs to know the number of steps.")
    loss = alignment_loss(settings.alignment, remat=settings.remat)
    optimizer = optimizers.optimizer(settings.optimizer, steps or 2**31)
    return engine.Trainer(
        model.suffix, loss, trained_labels(model, settings), optimizer, devices=devices
    )


def trained_labels(model: BridgedModel, settings: BridgeSettings) -> dict[str, str]:
    """Returns "bridge" or "frozen" for every leaf of the suffix, as `settings.trainable` says.

    Of the old encoder only what lies behind the bridge can move: the rest is not even run.
    """
    suffix, bridge = model.suffix, model.bridge
    pooled = jax.ShapeDtypeStruct((1, bridge.low_rank_a.shape[0]), jnp.float32)
    target = jax.eval_shape(
        suffix.bridge if settings.location == "bridge_output" else suffix.last_layer, pooled
    )
    logits = jax.ShapeDtypeStruct((1, model.head.num_classes), jnp.float32)
    used = engine.reached(
        suffix, alignment_loss(settings.alignment),
        {"pooled": pooled, "target": target, "logits": logits},
    )
    chosen = trainable.preset(settings.trainable)
    return engine.labels(suffix, lambda path: path in used and chosen(path))


def num_trained(model: BridgedModel, settings: BridgeSettings) -> int:
    """Returns how many parameters move, those of the head or of norms included."""
    moves = trained_labels(model, settings)
    return sum(
        leaf[...].size for path, leaf in nnx.to_flat_state(nnx.state(model.suffix, nnx.Param))
        if moves[".".join(map(str, path))] == "bridge"
    )


def train_bridge(
    new: Encoder, old: Encoder, head: TaskHead, bridge: PrototypeBridge, position: Position,
    pairs: Callable[[engine.Trainer], Source] | Batch,
    val: Callable[[engine.Trainer], Source] | Batch, settings: BridgeSettings, *, seed: int,
    num_pairs: int, what: str = "training the bridge",
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[BridgedModel, list[Epoch]]:
    """Trains the bridge; what `settings.trainable` leaves out stays as it is, bit by bit.

    Args:
        new, old: the encoders.
        head: the task head.
        bridge: the untrained bridge.
        position: (m, l).
        pairs: arrays "pooled" (windows, in_features), "target" (windows, tokens, features) and,
            with `logit_weight`, "logits" (windows, num_classes); or what makes a source of these.
        val: the same for validation.
        settings: see `BridgeSettings`.
        seed: fixes the order of windows.
        num_pairs: number of pair windows.
        what: for progress and messages.
        checkpoints, on_epoch: see `fit`.

    Raises:
        InputError: a position outside the encoders, a batch larger than the data, a loss that is
            not finite.
        Preempted: see `fit`.
    """
    model = BridgedModel(new, old, bridge, head, position, pool=settings.pool)
    trainer = bridge_trainer(model, settings, steps=settings.num_steps(num_pairs))
    curve = train_model(
        trainer, pairs, val, settings, seed=seed, what=what, checkpoints=checkpoints,
        on_epoch=on_epoch,
    )
    suffix = trainer.module()
    trained = BridgedModel(
        new, suffix.old, suffix.bridge, suffix.head, position, pool=settings.pool
    )
    return trained, curve


def train_model(
    trainer: engine.Trainer, pairs: Callable[[engine.Trainer], Source] | Batch,
    val: Callable[[engine.Trainer], Source] | Batch, settings: BridgeSettings, *, seed: int,
    what: str, checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> list[Epoch]:
    """Runs the epochs of a bridge's settings; see `train_bridge` for the arguments."""
    sources = (given(trainer) if callable(given) else given for given in (pairs, val))
    return fit(
        trainer, *sources, epochs=settings.epochs, batch_size=settings.batch_size, seed=seed,
        keep_best=settings.keep == "best", patience=settings.patience, what=what,
        checkpoints=checkpoints, on_epoch=on_epoch,
    )
