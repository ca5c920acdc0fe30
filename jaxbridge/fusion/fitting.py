"""Fitting a fusion to labels: on embeddings, or from signals together with the encoder."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from flax import nnx

from jaxbridge.features.images import EmbedSignals, embed_images
from jaxbridge.fusion.classifier import FusionClassifier
from jaxbridge.teacher import HeadSettings, class_weights, supervised_batch, supervised_trainer
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import Epoch, EpochReport, fit
from model_ports import Encoder
from model_ports.errors import InputError
from model_ports.representations import Representation, drawn_signals

Model = TypeVar("Model", bound=nnx.Module)


@dataclasses.dataclass(frozen=True)
class FusionSettings:
    """How embeddings are fused and the classifier is fitted.

    Attributes:
        within: fusion over the representations of a modality, out of `fuse.FUSIONS`.
        across: fusion over modalities.
        head: the head (`hidden`) and the training; `standardise` and `unfrozen` are not looked at.
    """

    within: str = "concatenate"
    across: str = "concatenate"
    head: HeadSettings = dataclasses.field(default_factory=HeadSettings)


class PictureClassifier(nnx.Module):
    """Signals (batch, modalities, samples) -> pictures -> one encoder for all -> fusion."""

    def __init__(
        self, encoder: Encoder, drawn_as: Sequence[Representation], fusion: FusionClassifier
    ):
        self.encoder, self.fusion = encoder, fusion
        self.embed = EmbedSignals(tuple(drawn_as))

    def __call__(self, signals: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        batch, modalities, samples = signals.shape
        embedded = self.embed(self.encoder, signals.reshape(-1, samples))
        return self.fusion(embedded.reshape(batch, modalities, *embedded.shape[1:]))


def fit_fusion(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], num_classes: int,
    settings: FusionSettings, *, seed: int, what: str = "fitting the fusion",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[FusionClassifier, list[Epoch]]:
    """Fits a fusion on embeddings; the encoder that made them stays as it is.

    Args:
        train: embeddings (windows, modalities, representations, features) and labels (windows,).
        val: the same for validation, which picks the epoch.
        num_classes: number of classes.
        settings: see `FusionSettings`.
        seed: fixes initial values and order.
        what: for progress and messages.
        on_epoch: see `training.fitting.fit`.

    Raises:
        InputError: embeddings of another shape, an unknown fusion, a class without training
            windows, a label that is no class, or sizes that do not fit.
    """
    model = _fresh(train, num_classes, settings, seed)
    return _fitted(model, train, val, num_classes, settings.head, seed, what, None, on_epoch)


def fit_fusion_unfrozen(
    encoder: Encoder, drawn_as: Sequence[str | Representation],
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], num_classes: int,
    settings: FusionSettings, *, seed: int, what: str = "training the encoder and the fusion",
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[PictureClassifier, list[Epoch]]:
    """Trains the encoder together with the fusion, from signals.

    Signals are standardised for the fusion by what the encoder gives before the training.

    Args:
        encoder: an encoder of pictures; it is left as it is, a trained copy is returned.
        drawn_as: names of representations, or representations.
        train: signals (windows, modalities, samples) and labels (windows,).
        val: the same for validation.
        num_classes, settings, seed, what, on_epoch: see `fit_fusion`.
        checkpoints: see `training.fitting.fit`.

    Raises:
        InputError: see `fit_fusion` and `features.images.embed_images`.
    """
    for signals, _ in (train, val):
        if signals.ndim != 3:
            raise InputError(
                "an encoder is trained from signals (windows, modalities, samples), not "
                f"{signals.shape}; cut all modalities to equally many samples."
            )
    flat = train[0].reshape(-1, train[0].shape[-1])
    embedded = embed_images(encoder, flat, drawn_as, what=f"{what}, before")
    embedded = embedded.reshape(*train[0].shape[:2], *embedded.shape[1:])
    fusion = _fresh((embedded, train[1]), num_classes, settings, seed)
    drawn = [drawn_signals(encoder, each).config.drawn_as for each in drawn_as]
    model = PictureClassifier(encoder, drawn, fusion)
    return _fitted(
        model, train, val, num_classes, settings.head, seed, what, checkpoints, on_epoch
    )


def _fresh(
    train: tuple[np.ndarray, np.ndarray], num_classes: int, settings: FusionSettings, seed: int
) -> FusionClassifier:
    if train[0].ndim != 4 or 0 in train[0].shape:
        raise InputError(
            "embeddings must be (windows, modalities, representations, features), not "
            f"{train[0].shape}."
        )
    return FusionClassifier(
        train[0], num_classes, within=settings.within, across=settings.across,
        hidden=settings.head.hidden, rngs=nnx.Rngs(seed),
    )


def _fitted(
    model: Model, train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray],
    num_classes: int, head: HeadSettings, seed: int, what: str,
    checkpoints: TrainingCheckpoints | None, on_epoch: Callable[[EpochReport], None] | None,
) -> tuple[Model, list[Epoch]]:
    if val[0].shape[1:] != train[0].shape[1:]:
        raise InputError(
            f"{what}: windows to validate with have shape {val[0].shape[1:]}, those to train on "
            f"{train[0].shape[1:]}; give both alike."
        )
    for _, labels in (train, val):
        if len(labels) and not (0 <= min(labels) and max(labels) < num_classes):
            raise InputError(
                f"{what}: labels are {min(labels)} to {max(labels)}, but there are {num_classes} "
                "classes; number them from 0."
            )
    weights = class_weights(train[1], num_classes, head.balance, head.class_weights)
    trainer = supervised_trainer(model, head)
    train, val = (
        supervised_batch(inputs.astype(np.float32), labels, weights) for inputs, labels in (train, val)
    )
    curve = fit(
        trainer, train, val, epochs=head.epochs, batch_size=min(head.batch_size, len(train["label"])),
        seed=seed, keep_best=True, what=what, patience=head.patience, checkpoints=checkpoints,
        on_epoch=on_epoch,
    )
    return trainer.module(), curve
