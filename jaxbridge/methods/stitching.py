"""Linear stitching: a ridge map from the new layer into all tokens of one old layer."""

import dataclasses
import pathlib

import numpy as np

from jaxbridge.bridged_model import BridgedModel, Position, check_position
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.linear_map import LinearMap, ridge_map
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training.bridging import target_kind
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Stitching(Method):
    """Pooled features of new layer m to the input of old layer l, in closed form (no steps).

    This is the bridge without its low rank and its prototypes, trained at the bridge's output.

    Attributes:
        position: (m, l); None for that of the shared data.
        penalties: grid, in units of the features' total variance over the pairs; the validation
            pairs choose.
    """

    name: str = "linear stitching"
    position: tuple[int, int] | None = None
    penalties: tuple[float, ...] = tuple(10.0**k for k in range(-6, 2))

    def __post_init__(self) -> None:
        if not self.penalties or not all(p > 0 for p in self.penalties):
            raise InputError("penalties: give at least one, all positive.")

    def capture(self, data: StudyData) -> None:
        old, position = data.teacher.encoder, self._position(data)
        kind = target_kind(old, position, "bridge_output")
        tokens, features = kind.shape(old, data.shapes[1][1:])
        width = data.new_features.widths[position.m]
        windows = len(data.pair) + len(data.val) + 2 * width
        needed = 8 * windows * tokens * features
        if needed > data.cache.host_gb * 1e9:
            raise InputError(
                f"{self.name}: a full map into {tokens} tokens of {features} features needs "
                f"{needed / 1e9:.1f} GB, the cache's host_gb is {data.cache.host_gb:g}; raise it, or "
                f"stitch to the head, position ({position.m}, {old.num_layers})."
            )
        data.targets(kind)

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        old, position = data.teacher.encoder, self._position(data)
        pool = data.new_features.key["pool"]
        targets = data.targets(target_kind(old, position, "bridge_output"))
        x, x_val = (data.new_features.outputs(position.m, rows) for rows in (data.pair, data.val))
        y, y_val = (
            np.asarray(targets.rows(data.target_rows(split)), np.float32).reshape(len(rows), -1)
            for split, rows in (("pair", x), ("val", x_val))
        )
        # A constant layer has no variance: any penalty then gives the targets' mean.
        spread = float(x.var(axis=0, dtype=np.float64).sum()) * len(x) or 1.0
        found = ridge_map(x, y, x_val, y_val, np.asarray(self.penalties) * spread)
        bridge = LinearMap(found.kernel, found.bias, targets.shape[0])
        model = BridgedModel(data.new, old, bridge, data.teacher.head, position, pool=pool)
        return Fitted(
            model, "new", *count_parameters(model, data.shapes[0], _in_bridge),
            program=found.program, train_samples=len(x),
            details={"penalty": self.penalties[found.chosen], "position": list(position)},
        )

    def _position(self, data: StudyData) -> Position:
        return check_position(
            Position(*(self.position or data.position)), data.new, data.teacher.encoder
        )


def _in_bridge(path: str) -> bool:
    return path.startswith("suffix.bridge.")
