"""Pretraining an encoder on several labelled sets at once."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from jaxbridge.pretraining.mixing import MixedSets, TaskSet, common_shape
from jaxbridge.pretraining.multi_task import MultiTask, uncertainty_loss
from jaxbridge.training import engine, optimizers
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import Epoch, EpochReport, fit
from jaxbridge.training.optimizers import OptimizerSettings
from model_ports import Encoder
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
    """How an encoder is pretrained.

    Attributes:
        windows_per_set: windows of each set in a step.
        epochs: an epoch ends when the largest set has been seen once; the state after the last one
            is kept.
        optimizer: Adam's settings, the same for encoder, heads and log-variances.
        hidden: width of the heads' hidden layer; None for linear heads.
        balance: weigh each class by 1 / its number of train windows within its set.
        frozen: beginnings of paths of the encoder's parameters that stay as they are, such as
            "stem" or "blocks.0"; their batch norms' statistics do too.
        batch_statistics: batch norms normalise by the batch, of all sets together, and what they
            store follows it.
    """

    windows_per_set: int = 8
    epochs: int = 20
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    hidden: int | None = None
    balance: bool = True
    frozen: tuple[str, ...] = ()
    batch_statistics: bool = True

    def __post_init__(self) -> None:
        for name, least in (("windows_per_set", 1), ("epochs", 1), ("hidden", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}.")


def multi_task_trainer(
    model: MultiTask, settings: PretrainSettings, *, steps: int,
    devices: list[jax.Device] | None = None,
) -> engine.Trainer:
    """Returns a trainer of encoder, heads and log-variances, but for what is frozen.

    Args:
        model: as it starts; it is left as it is.
        settings: see `PretrainSettings`.
        steps: of the whole run.
        devices: see `Trainer`.

    Raises:
        InputError: a frozen part that the encoder does not have, or see `optimizers.optimizer`.
    """
    def frozen(path: str) -> bool:
        return any(f"{path}.".startswith(f"encoder.{start}.") for start in settings.frozen)

    labels = engine.labels(
        model, lambda path: not frozen(path),
        statistics=lambda path: settings.batch_statistics and not frozen(path),
    )
    for start in settings.frozen:
        if not any(f"{path}.".startswith(f"encoder.{start}.") for path in labels):
            parts = sorted({path.split(".")[1] for path in labels if path.startswith("encoder.")})
            raise InputError(
                f"the encoder has no part {start!r} to freeze; it has {', '.join(parts)}."
            )
    optimizer = optimizers.optimizer(settings.optimizer, steps)
    return engine.Trainer(model, uncertainty_loss, labels, optimizer, devices=devices)


def pretrain(
    encoder: Encoder, sets: Sequence[TaskSet], settings: PretrainSettings, *, seed: int,
    what: str = "pretraining", checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[MultiTask, list[Epoch]]:
    """Trains an encoder with one head per set; windows are read from the sets as they are needed.

    Losses are weighed by trained uncertainties, see `uncertainty_loss`; sets are mixed round robin,
    see `MixedSets`.

    Args:
        encoder: it is left as it is, the model returned holds a trained copy.
        sets: all with windows of the shape that the encoder takes; classes may differ.
        settings: see `PretrainSettings`.
        seed: fixes the heads' initial values and the mixing.
        what: for progress and messages.
        checkpoints, on_epoch: see `training.fitting.fit`.

    Raises:
        InputError: sets, encoder and settings that do not fit, or see `fit`.
        Preempted: see `fit`.
    """
    shape = common_shape(sets)
    train, val = (MixedSets(sets, split, balance=settings.balance) for split in ("train", "val"))
    _, features = encoder.layer_shape(encoder.num_layers, (1, *shape))
    model = MultiTask(
        encoder, features, [one.num_classes for one in sets], hidden=settings.hidden,
        rngs=nnx.Rngs(seed),
    )
    source, batch_size = train.mixed(), settings.windows_per_set * len(sets)
    trainer = multi_task_trainer(
        model, settings, steps=-(-source.size // batch_size) * settings.epochs
    )
    curve = fit(
        trainer, source, val.once(), epochs=settings.epochs,
        batch_size=min(batch_size, source.size), seed=seed, keep_best=False, what=what,
        checkpoints=checkpoints, on_epoch=on_epoch, order=train.order,
    )
    return trainer.module(), curve
