"""Low-rank adapters in the new encoder, with the teacher's embedding as their target."""

import dataclasses
import pathlib
from typing import get_args

from flax import nnx

from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.embedding_student import (
    EmbeddingLoss,
    EmbeddingStudent,
    check_contrast,
    embedding_loss,
    embedding_rows,
)
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.low_rank_adapter import AdaptedEncoder
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training import losses
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Adapters(Method):
    """The new encoder with low-rank updates of its matrices, in front of the teacher's head.

    Once trained, the updates are added to the matrices: a prediction costs what the encoder costs.

    Attributes:
        rank: of the updates.
        loss: distance of embeddings.
        temperature: of InfoNCE.
        optimisation: see `Optimisation`.
    """

    name: str = "LoRA"
    rank: int = 8
    loss: EmbeddingLoss = "mse"
    temperature: float = 0.1
    optimisation: Optimisation = Optimisation(learning_rate=1e-3)

    def __post_init__(self) -> None:
        if self.loss not in (names := get_args(EmbeddingLoss)):
            raise InputError(f"loss is {self.loss!r}; use {', '.join(names)}.")
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be positive.")

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        if self.loss == losses.CONTRASTIVE:
            check_contrast(self.name, data, self.optimisation)
        _, width = data.new.layer_shape(data.new.num_layers, data.shapes[0])
        rngs = nnx.Rngs(seed)
        student = EmbeddingStudent(
            AdaptedEncoder(data.new, self.rank, rngs=rngs), width, data.embeddings(data.pair),
            data.teacher.head, rngs=rngs,
        )
        found = train(
            data, student, embedding_loss(self.loss, self.temperature),
            lambda path: path.startswith(("encoder.factors.", "projection.")),
            embedding_rows(data, student), self.optimisation, seed=seed,
            what=f"training {self.name}", folder=folder, about={"method": dataclasses.asdict(self)},
        )
        student = found.module
        counts = count_parameters(student, data.shapes[0], lambda path: path in found.trained)
        student.encoder = student.encoder.merged()
        if self.loss in ("info_nce", "cosine"):
            student.rescale(data)
        return Fitted(
            student, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s,
        )
