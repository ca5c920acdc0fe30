"""The old modality's classifier: an encoder and a task head fitted to labels."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxbridge.head import TaskHead
from jaxbridge.training import engine, losses
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import Epoch, EpochReport, fit
from model_ports import Encoder
from model_ports.encoder import token_mean
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """How a task head is fitted.

    Attributes:
        unfrozen: train the encoder together with the head.
        hidden: width of a hidden layer, None for a linear head (the reference uses None or 32).
        learning_rate: Adam's constant rate.
        epochs: passes over the training windows; the one of lowest validation loss is kept.
        batch_size: windows per step.
        balance: weigh each class by 1 / its number of training windows.
        class_weights: the weight of each class in place of that; their scale does not matter.
        standardise: fit on features of zero mean and unit deviation over the training windows and
            fold that map into the head, which stays linear in the raw features. The reference fits
            on raw features (False), which is slow where layers vary little between windows.
        patience: stop after so many epochs without a lower validation loss; None for never.
        batch_statistics: batch norms of an encoder that is trained normalise by the batch, and
            their stored statistics follow it, as in PyTorch's training mode; an encoder without
            them, or a frozen one, is not changed by it.
        dropout: share of values dropped in training steps of an encoder that is trained, at the
            places where its published code does (PaPaGei; the others have none here); a frozen one
            is not changed by it. The reference's PaPaGei: 0.5.
    """

    unfrozen: bool = False
    hidden: int | None = None
    learning_rate: float = 1e-3
    epochs: int = 200
    batch_size: int = 32
    balance: bool = True
    class_weights: tuple[float, ...] | None = None
    standardise: bool = True
    patience: int | None = None
    batch_statistics: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (
            ("hidden", 0), ("learning_rate", 0), ("epochs", 1), ("batch_size", 1), ("patience", 1)
        ):
            if (value := getattr(self, name)) is not None and not value >= least:
                raise InputError(f"the head's {name} is {value}; it must be at least {least}.")
        if not all(0 < weight < math.inf for weight in self.class_weights or ()):
            raise InputError(
                f"class weights {', '.join(f'{w:g}' for w in self.class_weights)}: give positive ones."
            )


class Teacher(nnx.Module):
    """encoder -> token mean -> head."""

    def __init__(self, encoder: Encoder, head: TaskHead):
        self.encoder, self.head = encoder, head

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        return self.head(token_mean(self.encoder(signal)))


def class_weights(
    labels: np.ndarray, num_classes: int, balance: bool, given: Sequence[float] | None = None
) -> np.ndarray:
    """Returns one weight per class: 1 / count, scaled to a mean of 1 over windows, or all 1.

    Args:
        labels: (windows,) classes.
        num_classes: number of classes.
        balance: weigh by 1 / count.
        given: weights in place of these, scaled in the same way.

    Raises:
        InputError: a class has no window; not as many given weights as classes, or none positive.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        absent = ", ".join(map(str, np.flatnonzero(counts == 0)))
        raise InputError(
            f"class {absent} has no training window; choose another split or seed."
        )
    if given is not None:
        weights = np.asarray(given, np.float64)
        if weights.shape != (num_classes,) or not (np.isfinite(weights) & (weights > 0)).all():
            raise InputError(
                f"class weights {', '.join(f'{w:g}' for w in given)}: give a positive one for each "
                f"of the {num_classes} classes."
            )
        return (weights * len(labels) / (weights @ counts)).astype(np.float32)
    if not balance:
        return np.ones(num_classes, np.float32)
    return (len(labels) / (num_classes * counts)).astype(np.float32)


def _classification_loss(model, batch):
    logits = model(batch["input"])
    return losses.cross_entropy(logits, batch["label"]), batch["weight"]


def supervised_batch(
    inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> Mapping[str, np.ndarray]:
    """Returns what a supervised trainer takes: inputs, labels, and weights from one per class."""
    return {"input": inputs, "label": labels.astype(np.int32), "weight": weights[labels]}


def supervised_trainer(
    module: nnx.Module, settings: HeadSettings, *, seed: int = 0
) -> engine.Trainer:
    """Returns a trainer of all of a module, inputs -> logits, on labels; the seed is dropout's."""
    labels = engine.labels(
        module, lambda path: True, statistics=lambda path: settings.batch_statistics
    )
    drop = engine.Dropout(settings.dropout, seed) if settings.unfrozen and settings.dropout else None
    return engine.Trainer(
        module, _classification_loss, labels, optax.adam(settings.learning_rate), drop=drop
    )


def fit_head(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], num_classes: int,
    settings: HeadSettings, *, seed: int, what: str = "fitting the head",
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[TaskHead, list[Epoch]]:
    """Fits a head on captured features.

    Args:
        train: features (windows, features) and labels (windows,).
        val: the same for validation, which picks the epoch.
        num_classes: number of classes.
        settings: see `HeadSettings`.
        seed: fixes initial values and order.
        what: for progress and messages.
        checkpoints, on_epoch: see `fit`.

    Raises:
        InputError: a class without training windows, or sizes that do not fit.
    """
    features, labels = train
    weights = class_weights(labels, num_classes, settings.balance, settings.class_weights)
    mean, std = location(features) if settings.standardise else (np.zeros(1), np.ones(1))
    head = TaskHead(features.shape[1], num_classes, hidden=settings.hidden, rngs=nnx.Rngs(seed))
    trainer = supervised_trainer(head, settings)
    curve = fit(
        trainer, supervised_batch((features - mean) / std, labels, weights),
        supervised_batch((val[0] - mean) / std, val[1], weights), epochs=settings.epochs,
        batch_size=min(settings.batch_size, len(labels)), seed=seed, keep_best=True, what=what,
        patience=settings.patience, checkpoints=checkpoints, on_epoch=on_epoch,
    )
    return of_raw_features(trainer.module(), mean, std), curve


def location(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of every feature of (windows, features), (features,) each."""
    std = features.std(axis=0)
    # A feature that does not vary tells nothing; dividing by its rounding noise would.
    return features.mean(axis=0), np.where(std > 1e-6 * np.abs(features).max(), std, np.inf)


def of_raw_features(head: TaskHead, mean: np.ndarray, std: np.ndarray) -> TaskHead:
    """Changes a head of (features - mean) / std into the same of features, and returns it."""
    first = head.layers[0]
    size = first.kernel.shape[0]
    mean, std = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), size) for x in (mean, std))
    kernel = first.kernel[...] / std[:, None]
    first.bias.set_value(first.bias[...] - mean @ kernel)
    first.kernel.set_value(kernel)
    return head


def fit_unfrozen(
    encoder: Encoder, train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray],
    num_classes: int, settings: HeadSettings, *, seed: int, what: str = "training the teacher",
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[Teacher, list[Epoch]]:
    """Trains the encoder together with a head, from signals.

    Arguments and errors as for `fit_head`, with signals in place of features; dropout that is not
    from 0 to below 1, or that the encoder does not have, is an `InputError` too.
    """
    signals, labels = train
    if not 0 <= settings.dropout < 1:
        raise InputError(f"{what}: dropout is {settings.dropout:g}; give 0 to below 1.")
    if settings.dropout and not encoder.has_dropout:
        raise InputError(
            f"{what}: {encoder.config.name} has no dropout here; leave dropout at 0."
        )
    weights = class_weights(labels, num_classes, settings.balance, settings.class_weights)
    _, width = encoder.layer_shape(encoder.num_layers, (1, *signals.shape[1:]))
    head = TaskHead(width, num_classes, hidden=settings.hidden, rngs=nnx.Rngs(seed))
    teacher = Teacher(encoder, head)
    trainer = supervised_trainer(teacher, settings, seed=seed)
    curve = fit(
        trainer, supervised_batch(signals, labels, weights), supervised_batch(val[0], val[1], weights),
        epochs=settings.epochs, batch_size=min(settings.batch_size, len(labels)), seed=seed,
        keep_best=True, what=what, patience=settings.patience, checkpoints=checkpoints,
        on_epoch=on_epoch,
    )
    return trainer.module(), curve
