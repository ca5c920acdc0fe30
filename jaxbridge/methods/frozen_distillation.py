"""Knowledge distillation into a head alone: the least that could be trained."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.head import TaskHead
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.distillation import soft_loss
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.prefix_classifier import PrefixClassifier
from jaxbridge.methods.study_data import StudyData
from jaxbridge.teacher import location, of_raw_features


@dataclasses.dataclass(frozen=True)
class FrozenDistillation(Method):
    """A linear head on the layer that the bridge reads, trained on the teacher's soft pseudo-labels.

    As `Distillation` with the encoder left as it is. A bridge that does no better than this brings
    the old encoder nothing but its labels.

    Attributes:
        temperature: T, divides both models' logits.
        optimisation: see `Optimisation`.
    """

    name: str = "KD, frozen encoder"
    temperature: float = 2.0
    optimisation: Optimisation = Optimisation(learning_rate=1e-3, epochs=200)

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        features = data.new_features.outputs(data.position.m)
        mean, std = location(features[data.pair])
        head = TaskHead(features.shape[1], data.num_classes, rngs=nnx.Rngs(seed))
        rows = {
            split: data.rows(split, arrays={
                "features": ((features[windows] - mean) / std).astype(np.float32),
                "logits": data.teacher_logits[windows],
            })
            for split, windows in (("pair", data.pair), ("val", data.val))
        }
        found = train(
            data, head, self._loss, lambda path: True, rows, self.optimisation, seed=seed,
            what=f"training {self.name}", folder=folder, about={"method": dataclasses.asdict(self)},
        )
        model = PrefixClassifier(
            data.new, data.position.m + 1, data.new_features.key["pool"],
            of_raw_features(found.module, mean, std),
        )
        counts = count_parameters(model, data.shapes[0], lambda path: path.startswith("head."))
        return Fitted(
            model, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s,
        )

    def _loss(self, head: TaskHead, batch) -> tuple[jax.Array, jax.Array]:
        values = soft_loss(head(batch["features"]), batch["logits"], self.temperature)
        return values, jnp.ones_like(values)
