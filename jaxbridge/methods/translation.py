"""Signal translation: a generator makes the old signal from the new one, and the teacher reads it."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.generator import Generator
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.teacher import Teacher
from jaxbridge.training import losses
from jaxbridge.training.target_cache import TargetKind
from model_ports.errors import InputError

# Windows whose mean and deviation scale the generator's input and output.
_SCALE_WINDOWS = 256


class TranslatedModel(nnx.Module):
    """new signal -> generator -> teacher."""

    def __init__(self, generator: Generator, teacher: Teacher):
        self.generator, self.teacher = generator, teacher

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        generator = self.generator
        return self.teacher(generator.signal(generator.standardised(signal)))


@dataclasses.dataclass(frozen=True)
class Translation(Method):
    """A 1-D convolutional generator, trained through the frozen teacher.

    The old encoder's last layer on the generated signal is brought to that on the true one; a mean
    squared error of the standardised signals is added. The new encoder plays no part.

    Attributes:
        hidden: channels of the generator.
        loss: distance at the last layer, over all tokens.
        signal_weight: weight of the squared error between signals.
        optimisation: see `Optimisation`.
    """

    name: str = "signal translation"
    hidden: int = 32
    loss: str = "cosine"
    signal_weight: float = 0.1
    optimisation: Optimisation = Optimisation(learning_rate=1e-3)

    def __post_init__(self) -> None:
        if self.loss not in losses.PAIRWISE:
            raise InputError(f"loss is {self.loss!r}; use {', '.join(losses.PAIRWISE)}.")
        if self.hidden < 1 or self.signal_weight < 0:
            raise InputError("hidden must be at least 1 and signal_weight not negative.")

    def capture(self, data: StudyData) -> None:
        for encoder in (data.new, data.teacher.encoder):
            if not encoder.config.sampling_rate_hz:
                raise InputError(f"{self.name}: {encoder.config.name} reads pictures, no signal.")
        data.targets(_kind(data))

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        some = data.pair[:: -(-len(data.pair) // _SCALE_WINDOWS)]
        new, old = (data.windows.read(m, some) for m in (data.new_modality, data.old_modality))
        generator = Generator(new, old, hidden=self.hidden, rngs=nnx.Rngs(seed))
        signals = {"signal": data.new_modality, "old": data.old_modality}
        rows = {
            split: data.rows(split, signals=signals, kind=_kind(data)) for split in ("pair", "val")
        }
        found = train(
            data, TranslatedModel(generator, data.teacher), self._loss,
            lambda path: path.startswith("generator."), rows, self.optimisation, seed=seed,
            what=f"training {self.name}", folder=folder, about={"method": dataclasses.asdict(self)},
        )
        counts = count_parameters(
            found.module, data.shapes[0], lambda path: path in found.trained
        )
        return Fitted(
            found.module, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s,
        )

    def _loss(self, model: TranslatedModel, batch: Any) -> tuple[jax.Array, jax.Array]:
        generator = model.generator
        made = generator.standardised(batch["signal"])
        tokens = model.teacher.encoder(generator.signal(made))
        values = losses.PAIRWISE[self.loss](tokens, batch["target"])
        values += self.signal_weight * losses.mse(made, generator.target(batch["old"]))
        return values, jnp.ones_like(values)


def _kind(data: StudyData) -> TargetKind:
    return TargetKind(data.teacher.encoder.num_layers)
