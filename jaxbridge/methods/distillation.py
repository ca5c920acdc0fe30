"""Knowledge distillation: the new encoder learns the teacher's soft pseudo-labels."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbridge.head import TaskHead
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.teacher import Teacher
from jaxbridge.training import losses
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Distillation(Method):
    """The whole new encoder and a head, trained on softened class probabilities (Hinton et al. 2015).

    Minimises T^2 times the cross-entropy between softmax(teacher / T) and softmax(student / T), as
    BioX-Bridge's baseline "KD" does on the pair windows.

    Attributes:
        temperature: T, divides both models' logits.
        hidden: width of a hidden layer of the head, None for a linear one.
        optimisation: see `Optimisation`.
    """

    name: str = "KD"
    temperature: float = 2.0
    hidden: int | None = None
    optimisation: Optimisation = Optimisation()

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be positive.")

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        _, width = data.new.layer_shape(data.new.num_layers, data.shapes[0])
        head = TaskHead(width, data.num_classes, hidden=self.hidden, rngs=nnx.Rngs(seed))
        rows = {
            split: data.rows(
                split, signals={"signal": data.new_modality},
                arrays={"logits": data.teacher_logits[data.indices(split)]},
            )
            for split in ("pair", "val")
        }
        found = train(
            data, Teacher(data.new, head), self.loss, lambda path: True, rows, self.optimisation,
            seed=seed, what=f"training {self.name}", folder=folder,
            about={"method": dataclasses.asdict(self)},
        )
        counts = count_parameters(
            found.module, data.shapes[0], lambda path: path in found.trained
        )
        return Fitted(
            found.module, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s,
        )

    def loss(self, student: Teacher, batch) -> tuple[jax.Array, jax.Array]:
        """Returns losses and weights of a batch with "signal" and the teacher's "logits"."""
        values = soft_loss(student(batch["signal"]), batch["logits"], self.temperature)
        return values, jnp.ones_like(values)


def soft_loss(logits: jax.Array, target: jax.Array, temperature: float) -> jax.Array:
    """T^2 times the cross-entropy of softened probabilities, (batch,)."""
    logits, target = logits / temperature, target / temperature
    return temperature**2 * losses.soft_cross_entropy(logits, target)
