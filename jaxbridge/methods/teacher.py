"""The supervised old modality: what everything else is learnt from."""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from jaxbridge.methods.cost import count_parameters, step_program
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.teacher import supervised_batch, supervised_trainer


@dataclasses.dataclass(frozen=True)
class TeacherMethod(Method):
    """The teacher itself, on the old modality, fitted when the shared data were prepared."""

    name: str = "teacher"
    is_control: ClassVar[bool] = True

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        settings, teacher = data.settings.head, data.teacher
        train = data.windows.indices("train")
        some = train[: settings.batch_size]
        if settings.unfrozen:
            module, inputs = teacher, data.windows.read(data.old_modality, some)
        else:
            module, inputs = teacher.head, data.embeddings(some)
        batch = supervised_batch(inputs, np.zeros(len(some), np.int32), np.ones(data.num_classes))
        trained, frozen = count_parameters(
            teacher, data.shapes[1], lambda path: settings.unfrozen or path.startswith("head.")
        )
        return Fitted(
            teacher, "old", trained, frozen,
            program=step_program(supervised_trainer(module, settings), batch),
            train_samples=data.teacher_epochs * len(train), wall_s=data.teacher_seconds,
        )
