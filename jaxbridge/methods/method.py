"""One interface of all methods that a study compares."""

import abc
import dataclasses
import pathlib
import time
from typing import Any, ClassVar, Literal

import numpy as np
from flax import nnx

from jaxbridge.features.sweep import sweep
from jaxbridge.methods.cost import Cost, Program, inference_program, predict
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training.fitting import Epoch

Side = Literal["new", "old"]


@dataclasses.dataclass(eq=False)
class Fitted:
    """A method after its fit.

    Attributes:
        model: one modality's signal -> logits.
        side: which modality it reads, "new" or (the teacher) "old".
        trainable_parameters, frozen_parameters: see `Cost`.
        program: what training ran, for its cost; None where nothing was trained.
        train_samples: windows gone through.
        curve: losses per epoch, empty for closed forms.
        epoch_s: see `Cost`.
        wall_s: see `Cost`; set by `Method.fit`.
        details: what else a reader may want, JSON-able, such as the penalty that was chosen.
    """

    model: nnx.Module
    side: Side
    trainable_parameters: int
    frozen_parameters: int
    program: Program | None = None
    train_samples: int = 0
    curve: list[Epoch] = dataclasses.field(default_factory=list)
    epoch_s: float = float("nan")
    wall_s: float = 0.0
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def logits(self, data: StudyData, indices: np.ndarray) -> np.ndarray:
        """Returns (k, classes) for windows, from signals of the method's modality alone."""
        modality = data.new_modality if self.side == "new" else data.old_modality
        return sweep(
            predict, self.model, data.reader(modality), indices, batch_size=data.batch_size,
            what=f"predicting from {modality}",
        )

    def cost(self, data: StudyData) -> Cost:
        """Compiles the training step and the prediction, and returns what they take."""
        flops, memory = (0.0, 0) if self.program is None else self.program.flops_and_memory()
        shape = data.shapes[0 if self.side == "new" else 1]
        return Cost(
            self.trainable_parameters, self.frozen_parameters, memory, self.wall_s, self.epoch_s,
            self.train_samples, flops, inference_program(self.model, shape).flops_and_memory()[0],
        )


class Method(abc.ABC):
    """A way from windows to predictions; a frozen dataclass whose fields are its settings.

    Attributes:
        name: in tables.
        reads_labels: whether the fit reads true labels of the new modality's windows. All others
            give the same bits whatever those labels are.
        is_control: a control or bound, no baseline that a method is measured against.
    """

    name: str
    reads_labels: ClassVar[bool] = False
    is_control: ClassVar[bool] = False

    def fit(
        self, data: StudyData, seed: int, *, folder: pathlib.Path | None = None
    ) -> Fitted:
        """Fits the method; `data` stays as it is.

        Args:
            data: shared by all methods.
            seed: fixes initial values and orders.
            folder: for checkpoints while it trains: a killed fit goes on there. Empty afterwards.

        Raises:
            InputError: the method cannot work with these encoders or windows.
            Preempted: SIGTERM came; the state is saved if there is a folder.
        """
        self.capture(data)
        started = time.monotonic()
        fitted = self._fit(data, seed, folder)
        if not fitted.wall_s:
            traced = fitted.program.seconds if fitted.program else 0.0
            fitted.wall_s = time.monotonic() - started - traced
        return fitted

    def capture(self, data: StudyData) -> None:
        """Captures targets that other methods will use too; not timed."""
        del data

    @abc.abstractmethod
    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted: ...
