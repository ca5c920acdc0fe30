"""Bridges at positions that are fixed or searched for otherwise than in two stages."""

import dataclasses
import pathlib
from typing import Literal

import numpy as np

from jaxbridge.bridged_model import Position
from jaxbridge.features.checks import stack
from jaxbridge.methods import Bridge, Fitted, Method, StudyData
from jaxbridge.pipeline import fold_groups
from jaxbridge.selection import joint
from jaxbridge.selection.folds import folds_by_subject, stratified_folds
from jaxbridge.selection.scanner import MAX_JOINT_WINDOWS
from jaxbridge.training.bridging import BridgeSettings, target_kind
from jaxbridge.training.engine import epoch_orders
from model_ports.errors import InputError

Place = Literal["first", "middle", "last"]
_PLACES = {"first": 0.0, "middle": 0.5, "last": 1.0}


@dataclasses.dataclass(frozen=True)
class FixedPosition(Bridge):
    """A bridge at a place that nothing was asked about.

    Attributes:
        place: (new layer, old layer), each among the encoder's layers.
    """

    name: str = "bridge at a fixed position"
    place: tuple[Place, Place] = ("middle", "middle")

    def _position(self, data: StudyData) -> Position:
        layers = data.new.num_layers, data.teacher.encoder.num_layers
        return Position(*(
            round(_PLACES[place] * (count - 1))
            for place, count in zip(self.place, layers, strict=True)
        ))


@dataclasses.dataclass(frozen=True)
class SearchedPosition(Method):
    """A bridge at the position that a search of its own finds, without labels.

    The time of the search counts as time of the fit.

    Attributes:
        search: "joint" takes the position whose old input a cross-validated ridge map explains best
            (`selection.joint.ridge_maps`, on token means); "exhaustive" trains a bridge at every
            position, the head's included, and takes the one that agrees with the teacher on most
            validation windows, of equals the one nearer to the target.
        settings: None for those of the shared data.
    """

    name: str = "bridge at a searched position"
    search: Literal["joint", "exhaustive"] = "joint"
    settings: BridgeSettings | None = None

    def __post_init__(self) -> None:
        if self.search not in ("joint", "exhaustive"):
            raise InputError(f"search is {self.search!r}; use 'joint' or 'exhaustive'.")

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        settings = self.settings or data.settings.bridge
        if self.search == "exhaustive" and not settings.epochs:
            raise InputError(
                f"{self.name}: an exhaustive search trains its bridges; give them at least 1 epoch, or "
                "search otherwise."
            )
        if self.search == "joint":
            position, details = _joint(data), {}
        else:
            position, details = _exhaustive(data, settings, seed)
        bridge = Bridge(self.name, settings, position)
        bridge.capture(data)
        fitted = bridge._fit(data, seed, folder)
        fitted.details |= details
        return fitted


def _joint(data: StudyData) -> Position:
    rows = data.pair[:: -(-len(data.pair) // MAX_JOINT_WINDOWS)]
    labels = data.teacher_logits[rows].argmax(axis=1)
    groups = fold_groups(data.windows, rows, data.settings)
    count = data.settings.folds if groups is None else folds_by_subject(data.settings.folds, groups)
    new, _ = stack([data.new_features.outputs(m, rows) for m in range(data.new.num_layers)])
    grams = np.stack([
        joint.gram(data.old_features.inputs(l, rows))
        for l in range(data.teacher.encoder.num_layers)  # noqa: E741
    ])
    maps = joint.ridge_maps(new, grams, stratified_folds(labels, count, groups=groups))
    m, l = np.unravel_index(maps.r2.argmax(), maps.r2.shape)  # noqa: E741
    return Position(int(m), int(l))


def _exhaustive(data: StudyData, settings: BridgeSettings, seed: int) -> tuple[Position, dict]:
    """Trains the bridges of all new layers into one old layer side by side."""
    old, head = data.teacher.encoder, data.teacher.head
    rows = np.concatenate([data.pair, data.val])
    new = [data.new_features.outputs(m, rows) for m in range(data.new.num_layers)]
    size = min(settings.batch_size, len(data.pair))
    whole = len(data.pair) // size * size
    order = np.concatenate([
        o[:whole] for o in epoch_orders(len(data.pair), settings.epochs, seed)
    ]).reshape(-1, size)
    held = np.arange(len(data.pair), len(rows))
    wanted = data.teacher_logits[data.val].argmax(axis=1)
    agreement, distance = [], []
    for l in range(old.num_layers + 1):  # noqa: E741
        kind = target_kind(old, Position(0, l), "last_layer")
        tokens, features = old.layer_shape(l, data.shapes[1])
        shape = (1 if l == old.num_layers else tokens, features)
        found, logits = joint.train_bridges(
            old, head, l, new, data.targets(kind).rows(np.arange(len(rows))), shape, order, held,
            settings, steps=(len(order),), seed=seed,
        )
        agreement.append((logits[0].argmax(axis=2) == wanted).mean(axis=1))
        distance.append(found[0].mean(axis=1))
    agreement, distance = np.stack(agreement, axis=1), np.stack(distance, axis=1)
    best = np.lexsort([distance.ravel(), -agreement.ravel()])[0]
    m, l = np.unravel_index(best, agreement.shape)  # noqa: E741
    return Position(int(m), int(l)), {"agreement": agreement.tolist(), "distance": distance.tolist()}
