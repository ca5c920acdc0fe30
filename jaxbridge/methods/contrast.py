"""KD-Contrast: the new encoder's embedding takes the place of the teacher's."""

import dataclasses
import pathlib

from flax import nnx

from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.embedding_student import (
    EmbeddingStudent,
    check_contrast,
    embedding_loss,
    embedding_rows,
)
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Contrast(Method):
    """The whole new encoder, trained so that a window's embedding picks the teacher's among a batch.

    InfoNCE over the batch, then the teacher's head, as BioX-Bridge's baseline "KD-Contrast"; see
    `EmbeddingStudent` for what is added, without labels, so that the head reads the right scale.

    Attributes:
        temperature: divides the cosines.
        optimisation: see `Optimisation`.
    """

    name: str = "KD-Contrast"
    temperature: float = 0.1
    # Its validation loss, which tells single windows apart, is lowest after a few epochs and rises
    # while classes still come apart: the student kept there is nearly untrained.
    optimisation: Optimisation = Optimisation(keep="last")

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be positive.")

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        check_contrast(self.name, data, self.optimisation)
        _, width = data.new.layer_shape(data.new.num_layers, data.shapes[0])
        student = EmbeddingStudent(
            data.new, width, data.embeddings(data.pair), data.teacher.head, rngs=nnx.Rngs(seed)
        )
        found = train(
            data, student, embedding_loss("info_nce", self.temperature),
            lambda path: path.startswith(("encoder.", "projection.")), embedding_rows(data, student),
            self.optimisation, seed=seed, what=f"training {self.name}", folder=folder,
            about={"method": dataclasses.asdict(self)},
        )
        found.module.rescale(data)
        counts = count_parameters(
            found.module, data.shapes[0], lambda path: path in found.trained
        )
        return Fitted(
            found.module, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s,
        )
