"""Training by gradients, for all methods that do: one engine, one kind of checkpoints."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxbridge.methods.cost import Program, step_program
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training import engine
from jaxbridge.training.checkpoints import TrainingCheckpoints, until_done
from jaxbridge.training.engine import Batch, Loss, Rows
from jaxbridge.training.fitting import Epoch, EpochReport, fit
from jaxbridge.training.optimizers import OptimizerSettings, Schedule, optimizer
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How a method's parameters move, by Adam.

    Attributes:
        learning_rate: Adam's, at its highest.
        epochs: passes over the pairs; None for as many as the bridge.
        batch_size: windows per step; None for as many as the bridge.
        keep: the "last" state or that of the "best" validation loss, which reads no labels.
        schedule: of the rate, see `OptimizerSettings`.
    """

    learning_rate: float = 1e-4
    epochs: int | None = None
    batch_size: int | None = None
    keep: Literal["last", "best"] = "best"
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be positive.")
        for name in ("epochs", "batch_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1, or None.")
        if self.keep not in ("last", "best"):
            raise InputError(f"keep is {self.keep!r}; use 'last' or 'best'.")
        _ = self.optimizer  # checks its part

    @property
    def optimizer(self) -> OptimizerSettings:
        return OptimizerSettings(self.learning_rate, self.schedule)


class Trained(NamedTuple):
    """A training run's result and what it took.

    Attributes:
        module: a trained copy.
        trained: paths of the leaves that moved.
        program: one step.
        samples: windows gone through.
        curve: losses.
        epoch_s: median seconds of an epoch after the first, NaN if there is one.
    """

    module: Any
    trained: frozenset[str]
    program: Program
    samples: int
    curve: list[Epoch]
    epoch_s: float


def train(
    data: StudyData, module: nnx.Module, loss: Loss, trainable: Callable[[str], bool],
    rows: Mapping[str, Rows], optimisation: Optimisation, *, seed: int, what: str,
    folder: pathlib.Path | None, about: Mapping[str, Any],
) -> Trained:
    """Trains on the pair windows; of the trainable leaves, those that the loss depends on.

    Statistics of batch norms among them follow the batches, as when a teacher is trained.

    Args:
        data: shared data.
        module: as it starts; it is left as it is.
        loss: see `jaxbridge.training.engine.Loss`.
        trainable: tells by path what may move.
        rows: "pair" and "val" -> what reads their rows.
        optimisation: see `Optimisation`.
        seed: fixes the order of windows.
        what: for progress and messages.
        folder: see `Method.fit`.
        about: what decides the result beside `data` and `seed`, for the checkpoints.
    """
    bridge = data.settings.bridge
    epochs = optimisation.epochs or bridge.epochs
    batch_size = windows_per_step(data, optimisation)
    batch = rows["pair"](np.arange(batch_size))
    labels = labels_of(module, loss, trainable, batch)
    steps = epochs * -(-len(data.pair) // batch_size)
    trainer = engine.Trainer(module, loss, labels, optimizer(optimisation.optimizer, steps))
    program, seconds = step_program(trainer, batch), EpochSeconds()
    with checkpoints(folder, data, {**about, "seed": seed, "what": what}) as kept:
        curve = fit(
            trainer, data.source(trainer, "pair", rows["pair"]),
            data.source(trainer, "val", rows["val"]), epochs=epochs, batch_size=batch_size,
            seed=seed, keep_best=optimisation.keep == "best", what=what, checkpoints=kept,
            on_epoch=seconds.add,
        )
    trained = frozenset(path for path, label in labels.items() if label == "bridge")
    return Trained(
        trainer.module(), trained, program, len(curve) * len(data.pair), curve, seconds.median()
    )


def windows_per_step(data: StudyData, optimisation: Optimisation) -> int:
    """Returns the batch size: what is asked for, but no more than there are pairs."""
    return min(optimisation.batch_size or data.settings.bridge.batch_size, len(data.pair))


def labels_of(
    module: nnx.Module, loss: Loss, trainable: Callable[[str], bool], batch: Batch
) -> dict[str, str]:
    """Returns labels by which those trainable leaves move that the loss depends on."""
    used = engine.reached(
        module, loss,
        {name: jax.ShapeDtypeStruct(values.shape, values.dtype) for name, values in batch.items()},
    )
    return engine.labels(
        module, lambda path: path in used and trainable(path), statistics=trainable
    )


class EpochSeconds:
    """Collects how long epochs took."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def add(self, report: EpochReport) -> None:
        self._seconds.append(report.seconds)

    def median(self) -> float:
        """Returns the median of all but the first, NaN if there are none."""
        return float(np.median(self._seconds[1:])) if len(self._seconds) > 1 else float("nan")


@contextlib.contextmanager
def checkpoints(
    folder: pathlib.Path | None, data: StudyData, about: Mapping[str, Any]
) -> Iterator[TrainingCheckpoints | None]:
    """Yields checkpoints that outlive a kill and are gone when training is done; None without folder.

    Raises:
        InputError: the folder holds the state of another training.
    """
    if folder is None:
        yield None
        return
    about = {**data.identity(), **about}
    with until_done(folder, about, every=data.settings.checkpoint_every) as kept:
        yield kept
