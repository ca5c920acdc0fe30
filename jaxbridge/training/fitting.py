"""Epochs: shuffle, train, watch the validation loss, save what was done."""

import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxbridge.progress import progress
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.engine import Batch, NonFiniteError, Trainer, epoch_order
from jaxbridge.training.parts import part_steps
from jaxbridge.training.preemption import Preempted, Preemption
from jaxbridge.training.sources import Placed, Source
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")
_BEST = "best/"


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


class EpochReport(NamedTuple):
    """What `fit` tells of an epoch when it ends.

    Attributes:
        what: which training.
        epoch, train_loss, val_loss: see `Epoch`.
        step: steps taken since the first epoch.
        windows: training windows per epoch.
        seconds: the epoch took, the validation loss included; after a resume within an epoch only
            the part done since.
    """

    what: str
    epoch: int
    train_loss: float
    val_loss: float
    step: int
    windows: int
    seconds: float


def fit(
    trainer: Trainer, train: Source | Batch, val: Source | Batch, *, epochs: int, batch_size: int,
    seed: int, keep_best: bool, what: str, patience: int | None = None,
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    order: Callable[[int, int, int], np.ndarray] = epoch_order,
) -> list[Epoch]:
    """Trains for `epochs` passes and returns the curve; the trainer holds the result.

    Args:
        trainer: what is trained.
        train: a source, or arrays with a leading window axis, which go onto the devices.
        val: the same for validation.
        epochs: passes over `train`.
        batch_size: windows per step, over all devices.
        seed: fixes the order of windows.
        keep_best: leave the trainer with the parameters of the lowest validation loss (first of
            equals) in place of the last ones.
        what: for the progress line and messages.
        patience: stop after so many epochs without a lower validation loss; None for never.
        checkpoints: where to save, and to go on from what is saved there. A run that goes on ends
            with the same bits as one that was never broken off.
        on_epoch: told of every epoch trained now, before a checkpoint holds it: after a kill an
            epoch may be told again, but none is missed.
        order: (windows, epoch, seed) -> (windows,) indices of an epoch, by nothing else; shuffled if
            left out.

    Raises:
        InputError: the loss or its gradient is not finite (the trainer then holds the state before
            that batch), sizes do not fit, or a checkpoint cannot be written.
        Preempted: SIGTERM came; the state is saved.
    """
    train, val = (_source(trainer, given, what) for given in (train, val))
    if epochs < 1:
        raise InputError(f"{what}: epochs is {epochs}; it must be at least 1.")
    if patience is not None and patience < 1:
        raise InputError(f"{what}: patience is {patience}; it must be at least 1 epoch.")
    if not 1 <= batch_size <= train.size:
        raise InputError(
            f"{what}: batch size {batch_size} does not fit {train.size} training windows; "
            f"choose 1 to {train.size}."
        )
    run = _Run(
        trainer, train, val, batch_size, seed, keep_best, what, patience, checkpoints, on_epoch, order
    )
    with Preemption() as preemption:
        for _ in progress(
            run.calls(epochs, preemption), total=epochs, what=what, unit="epoch",
            each=(train.size, "window"), begun=run.step, amount=int, parts=run.steps,
        ):
            pass
    if keep_best:
        if not any(math.isfinite(e.val_loss) for e in run.curve):
            raise InputError(
                f"{what}: the validation loss was finite after no epoch, so none is the best; check "
                "the validation windows."
            )
        trainer.set_params(run.best)
    return run.curve


class _Run:
    """The state of a fit, all of which is in its checkpoints."""

    def __init__(
        self, trainer, train, val, batch_size, seed, keep_best, what, patience, checkpoints,
        on_epoch, order,
    ):
        self.trainer, self.train, self.val = trainer, train, val
        self.batch_size, self.seed, self.keep_best = batch_size, seed, keep_best
        self.what, self.patience, self.checkpoints = what, patience, checkpoints
        self.on_epoch, self.order = on_epoch, order
        self.steps = -(-train.size // batch_size)
        self.curve: list[Epoch] = []
        self.losses: list[float] = []  # of the running epoch
        self.best = trainer.host_params() if keep_best else None
        if checkpoints is not None and (found := checkpoints.latest()) is not None:
            self._restore(*found)
        self.saved = self.step
        most = min(checkpoints.every, self.steps) if checkpoints else self.steps
        operations = functools.cache(lambda: train.step_operations(trainer, batch_size))
        self.part = part_steps(most, operations)
        # Not by how often is saved: a sum's bits hang on its parts.
        self.val_part = part_steps(-(-val.size // batch_size), operations)

    @property
    def epoch(self) -> int:
        return len(self.curve)

    @property
    def step(self) -> int:
        return self.epoch * self.steps + len(self.losses)

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss, counted from 1."""
        return 1 + int(np.argmin([_or_infinite(e.val_loss) for e in self.curve]))

    def stale(self) -> bool:
        waited = self.epoch - self.best_epoch if self.curve else 0
        return self.patience is not None and waited >= self.patience

    def calls(self, epochs: int, preemption: Preemption) -> Iterator[int]:
        """Trains, and yields after each compiled call how many steps it took."""
        while self.epoch < epochs:
            if self.stale():
                _log.info(
                    "%s: stopped early after epoch %d; the validation loss was lowest in epoch %d",
                    self.what, self.epoch, self.best_epoch,
                )
                break
            yield from self._one_epoch(preemption)

    def _one_epoch(self, preemption: Preemption) -> Iterator[int]:
        self.started = time.monotonic()
        order = self.order(self.train.size, self.epoch, self.seed)
        # Parts start at multiples of their length within the epoch: two lengths, so two programs,
        # and the same ones after a resume, which keeps the bits.
        while (start := len(self.losses)) < self.steps:
            stop = min(start - start % self.part + self.part, self.steps)
            part = order[start * self.batch_size : stop * self.batch_size]
            try:
                found = self.train.train(self.trainer, part, self.batch_size)
            except NonFiniteError as error:
                self._not_finite(error, start, part)
            self.losses += found.tolist()
            if stop < self.steps:
                self._save_if_due()
            self._heed(preemption)
            yield stop - start
        self._end_epoch(preemption)
        self._save_if_due()
        self._heed(preemption)

    def _end_epoch(self, preemption: Preemption) -> None:
        sums = []
        for one in self.val.loss_sums(self.trainer, self.batch_size, self.val_part):
            sums.append(one)
            self._heed(preemption)
        total, weight = np.sum(sums, axis=0)
        val_loss = float(total / weight)
        lowest = min((_or_infinite(e.val_loss) for e in self.curve), default=np.inf)
        train_loss = float(np.mean(np.asarray(self.losses, np.float32)))
        self.curve.append(Epoch(self.epoch + 1, train_loss, val_loss))
        self.losses = []
        if self.keep_best and val_loss < lowest:
            self.best = self.trainer.host_params()
        if self.on_epoch:
            seconds = time.monotonic() - self.started
            self.on_epoch(
                EpochReport(self.what, *self.curve[-1], self.step, self.train.size, seconds)
            )

    def _save_if_due(self) -> None:
        if self.checkpoints is not None and self.step - self.saved >= self.checkpoints.every:
            self._save()

    def _save(self) -> None:
        arrays = self.trainer.host_state()
        if self.keep_best:
            arrays |= {_BEST + name: value for name, value in self.best.items()}
        # JSON would lose nothing of a float, but NaN: a validation loss may be that.
        record = {"curve": [list(map(repr, e)) for e in self.curve],
                  "losses": list(map(repr, self.losses))}
        val_loss = None if self.losses or not self.curve else self.curve[-1].val_loss
        self.checkpoints.save(self.step, arrays, record, val_loss=val_loss)
        self.saved = self.step

    def _restore(self, step: int, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        if self.keep_best:
            self.best = {name: arrays.pop(_BEST + name) for name in self.best}
        self.trainer.set_state(arrays)
        self.curve = [Epoch(int(e), float(t), float(v)) for e, t, v in record["curve"]]
        self.losses = [float(x) for x in record["losses"]]
        _log.info("%s: going on after step %d (epoch %d)", self.what, step, self.epoch + 1)

    def _heed(self, preemption: Preemption) -> None:
        if preemption.reached():
            self._stop()

    def _stop(self) -> None:
        message = f"{self.what}: stopped after step {self.step}; the same command does it anew."
        if self.checkpoints is not None:
            self._save()
            self.checkpoints.wait()
            message = (
                f"{self.what}: stopped after step {self.step} and saved; the same command goes on."
            )
        _log.warning("%s", message)
        raise Preempted(message)

    def _not_finite(self, error: NonFiniteError, start: int, part: np.ndarray) -> None:
        at = error.step * self.batch_size
        windows = part[at : at + self.batch_size]
        self.losses += error.before
        kept = ""
        if self.checkpoints is not None:
            self._save()
            self.checkpoints.wait()
            kept = " The state before that step is kept."
        found = (
            f"the gradient is not finite (the loss is {error.loss})" if math.isfinite(error.loss)
            else f"the loss is {error.loss}"
        )
        remedy = (
            "lower the learning rate or check the signals" if self.step
            else "check the signals and the weights: layer norms of zeros, as random encoders with "
            "biases of zero have them, have gradients beyond float32"
        )
        raise InputError(
            f"{self.what}: {found} in epoch {self.epoch + 1}, step {start + error.step + 1} "
            f"(training windows {json.dumps(windows[:16].tolist())}); {remedy}.{kept}"
        ) from None


def _or_infinite(loss: float) -> float:
    """A loss to compare: NaN is the lowest to NumPy, and neither lower nor higher to Python."""
    return math.inf if math.isnan(loss) else loss


def _source(trainer: Trainer, given: Source | Batch, what: str) -> Source:
    if not isinstance(given, dict):
        return given
    sizes = {len(x) for x in given.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"{what}: the training arrays have {sorted(sizes)} windows; pair them up.")
    return Placed(trainer, given)
