"""Closed-form alignment of the two encoders' last layers: Procrustes and CORAL."""

import abc
import dataclasses
import pathlib

import numpy as np

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.linear_map import LinearMap, Solution, coral_map, procrustes_map
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from model_ports.errors import InputError


class LastLayerMethod(Method):
    """new encoder's last layer, pooled -> affine map -> the teacher's head."""

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        position = Position(data.new.num_layers - 1, data.teacher.encoder.num_layers)
        found = self._map(
            data.new_features.outputs(position.m, data.pair), data.embeddings(data.pair)
        )
        model = BridgedModel(
            data.new, data.teacher.encoder, LinearMap(found.kernel, found.bias, 1),
            data.teacher.head, position, pool=data.new_features.key["pool"],
        )
        counts = count_parameters(
            model, data.shapes[0], lambda path: path.startswith("suffix.bridge.")
        )
        return Fitted(
            model, "new", *counts, program=found.program, train_samples=len(data.pair)
        )

    @abc.abstractmethod
    def _map(self, new: np.ndarray, old: np.ndarray) -> Solution: ...


@dataclasses.dataclass(frozen=True)
class Procrustes(LastLayerMethod):
    """The rotation, scale and shift that bring paired embeddings closest, see `procrustes_map`."""

    name: str = "Procrustes"

    def _map(self, new: np.ndarray, old: np.ndarray) -> Solution:
        return procrustes_map(new, old)


@dataclasses.dataclass(frozen=True)
class Coral(LastLayerMethod):
    """Gives new embeddings the teacher's mean and covariance, see `coral_map`; pairs play no part.

    Columns correspond by their index, which two encoders give no reason for: between unlike
    encoders this shows what matching moments alone does.

    Attributes:
        ridge: in units of the mean variance.
    """

    name: str = "CORAL"
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise InputError(f"ridge is {self.ridge}; it must be positive.")

    def _map(self, new: np.ndarray, old: np.ndarray) -> Solution:
        return coral_map(new, old, self.ridge)
