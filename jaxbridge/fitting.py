"""Epochs: shuffle, train, watch the validation loss."""

from typing import NamedTuple

import numpy as np

from jaxbridge.progress import progress
from jaxbridge.training import Batch, Trainer, epoch_orders
from model_ports.errors import InputError


class Epoch(NamedTuple):
    """One line of a training curve.

    Attributes:
        epoch: counted from 1.
        train_loss: mean over the epoch's steps, each before its update.
        val_loss: over the whole validation set after the epoch.
    """

    epoch: int
    train_loss: float
    val_loss: float


def fit(
    trainer: Trainer, train: Batch, val: Batch, *, epochs: int, batch_size: int, seed: int,
    keep_best: bool, what: str,
) -> list[Epoch]:
    """Trains for `epochs` passes and returns the curve; the trainer holds the result.

    Args:
        trainer: what is trained.
        train: arrays with a leading window axis.
        val: the same for validation.
        epochs: passes over `train`.
        batch_size: windows per step, over all devices.
        seed: fixes the order of windows.
        keep_best: leave the trainer with the parameters of the lowest validation loss (first of
            equals) in place of the last ones.
        what: for the progress line and messages.

    Raises:
        InputError: the loss is not finite, or sizes do not fit.
    """
    sizes = {len(x) for x in train.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"{what}: the training arrays have {sorted(sizes)} windows; pair them up.")
    (size,) = sizes
    if epochs < 1:
        raise InputError(f"{what}: epochs is {epochs}; it must be at least 1.")
    if not 1 <= batch_size <= size:
        raise InputError(
            f"{what}: batch size {batch_size} does not fit {size} training windows; "
            f"choose 1 to {size}."
        )
    train, val = trainer.place(dict(train)), trainer.place(dict(val))
    curve: list[Epoch] = []
    best = trainer.host_params() if keep_best else None
    orders = epoch_orders(size, epochs, seed)
    for number, order in progress(enumerate(orders, 1), total=epochs, what=what, unit="epoch"):
        losses = trainer.train(train, order, batch_size)
        if not np.isfinite(losses).all():
            step = int(np.argmin(np.isfinite(losses)))
            raise InputError(
                f"{what}: the loss is {losses[step]} in epoch {number}, step {step + 1}; "
                "lower the learning rate or check the signals."
            )
        curve.append(Epoch(number, float(losses.mean()), trainer.loss(val, batch_size)))
        if keep_best and curve[-1].val_loss < min((e.val_loss for e in curve[:-1]), default=np.inf):
            best = trainer.host_params()
    if keep_best:
        trainer.set_params(best)
    return curve
