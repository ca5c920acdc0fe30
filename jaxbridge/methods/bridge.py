"""The product's own bridge, and its controls."""

import dataclasses
import math
import pathlib
from typing import ClassVar

import jax
import numpy as np

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.methods.cost import Program, count_parameters, forward_program, step_program
from jaxbridge.methods.gradient import EpochSeconds, checkpoints
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training.bridging import BridgeSettings, bridge_trainer, target_kind, trained_labels


@dataclasses.dataclass(frozen=True)
class Bridge(Method):
    """A bridge trained on the pairs (BioX-Bridge, arXiv 2510.02276).

    Attributes:
        settings: None for those of the shared data.
        position: (m, l); None for that of the shared data.
    """

    name: str = "bridge"
    settings: BridgeSettings | None = None
    position: tuple[int, int] | None = None

    def capture(self, data: StudyData) -> None:
        model = self.untrained(data, 0)
        data.targets(target_kind(model.old, model.position, self.settings_for(data).location))

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        settings, model = self.settings_for(data), self.untrained(data, seed)
        moves = _moves(model, settings)
        order, seconds = self._order(data, seed), EpochSeconds()
        about = {"method": dataclasses.asdict(self), "seed": seed}
        with checkpoints(folder, data, about) as kept:
            trained, curve = data.train(
                model, settings, seed=seed, order=order, what=f"training {self.name}",
                checkpoints=kept, on_epoch=seconds.add,
            )
        return Fitted(
            trained, "new", *count_parameters(trained, data.shapes[0], moves),
            program=self.step(data, model),
            # The closed form goes through the pairs twice and the validation windows once.
            train_samples=len(curve) * len(data.pair) or 2 * len(data.pair) + len(data.val),
            curve=curve, epoch_s=seconds.median(),
            details={"position": list(model.position)},
        )

    def settings_for(self, data: StudyData) -> BridgeSettings:
        """Returns the settings, with a batch no larger than the data."""
        settings = self.settings or data.settings.bridge
        return dataclasses.replace(
            settings, batch_size=min(settings.batch_size, len(data.pair))
        )

    def step(self, data: StudyData, model: BridgedModel) -> Program:
        """Returns one training step of an untrained model; in closed form, one pass for its sums."""
        settings = self.settings_for(data)
        if not settings.epochs:
            kind = target_kind(model.old, model.position, "bridge_output")
            return forward_program(kind, model.old, (data.batch_size, *data.shapes[1][1:]))
        rows = np.arange(settings.batch_size)
        inputs = data.bridge_inputs(model, settings)["pair"]
        targets = data.targets(target_kind(model.old, model.position, settings.location))
        batch = {name: values[rows] for name, values in inputs.items()}
        trainer = bridge_trainer(model, settings, steps=settings.num_steps(len(data.pair)))
        target = targets.rows(data.target_rows("pair")[rows])
        return step_program(trainer, {**batch, "target": target})

    def _position(self, data: StudyData) -> Position:
        return Position(*(self.position or data.position))

    def _order(self, data: StudyData, seed: int) -> np.ndarray | None:
        del data, seed
        return None

    def untrained(self, data: StudyData, seed: int) -> BridgedModel:
        """Returns the bridged model as training starts."""
        return data.untrained(self._position(data), self.settings_for(data), seed=seed)


@dataclasses.dataclass(frozen=True)
class HeadBridge(Bridge):
    """A bridge into the head itself: no layer of the old encoder runs."""

    name: str = "head-only bridge"

    def _position(self, data: StudyData) -> Position:
        return Position(super()._position(data).m, data.teacher.encoder.num_layers)


@dataclasses.dataclass(frozen=True)
class ClosedFormBridge(Bridge):
    """The bridge that best predicts the old layer's input, without a training step.

    Rank, prototypes and position are the bridge's; see `jaxbridge.training.closed_form`.
    """

    name: str = "bridge, closed form"

    def capture(self, data: StudyData) -> None:
        del data  # the old layer's input is summed up, not kept

    def settings_for(self, data: StudyData) -> BridgeSettings:
        return dataclasses.replace(
            super().settings_for(data), start="ridge", prototypes="random", epochs=0
        )


@dataclasses.dataclass(frozen=True)
class ShuffledPairs(Bridge):
    """The bridge on pairs that do not belong together, which must fall to chance."""

    name: str = "bridge, shuffled pairs"
    is_control: ClassVar[bool] = True

    def _order(self, data: StudyData, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).permutation(len(data.pair))


@dataclasses.dataclass(frozen=True)
class RandomBridge(Bridge):
    """A bridge that is not trained.

    Its second factor, zeros where training starts, is drawn uniformly within +-1/sqrt(rank): zeros
    would give every window the same prediction.
    """

    name: str = "random bridge"
    is_control: ClassVar[bool] = True

    def capture(self, data: StudyData) -> None:
        del data

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        model = self.untrained(data, seed)
        factor = model.bridge.low_rank_b
        bound = 1 / math.sqrt(factor.shape[0])
        key = jax.random.fold_in(jax.random.key(seed), 1)
        factor.set_value(jax.random.uniform(key, factor.shape, minval=-bound, maxval=bound))
        return Fitted(
            model, "new", *count_parameters(model, data.shapes[0], lambda path: False),
            details={"position": list(model.position)},
        )


def _moves(model: BridgedModel, settings: BridgeSettings):
    """Tells by path within the whole model what training moves."""
    labels = trained_labels(model, settings)
    return lambda path: labels.get(path.removeprefix("suffix."), "frozen") != "frozen"
