"""Paired windows with what was captured of them: what bridges and baselines are trained on."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.features.store import FeatureStore
from jaxbridge.features.sweep import Read, batches
from jaxbridge.teacher import Teacher
from jaxbridge.training.bridge_grid import train_grid
from jaxbridge.training.bridging import BridgeSettings, new_bridge, target_kind, train_bridge
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.closed_form import closed_form
from jaxbridge.training.engine import Batch, Rows, Trainer
from jaxbridge.training.fitting import Epoch, EpochReport
from jaxbridge.training.sources import Placed, Source, Streamed
from jaxbridge.training.target_cache import CacheSettings, TargetKind, Targets, real_tokens
from model_ports import Encoder
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")
# Kinds of targets kept at a time: the last layer's, and the input of one layer.
_KEPT_TARGETS = 2


class Windows(Protocol):
    """What is read here: a `WindowStore` or `ArrayWindows`."""

    @property
    def hash(self) -> str: ...
    def shape(self, modality: str) -> tuple[int, ...]: ...
    def read(self, modality: str, indices: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(eq=False)
class PairData:
    """Pair and validation windows, the frozen encoders, and their captured features.

    Nothing here holds a label: `teacher_logits` are the pseudo-labels.

    Attributes:
        windows: signals of both modalities.
        new: encoder of the new modality.
        teacher: the old modality's classifier.
        new_features: pooled features of all windows.
        teacher_logits: (all windows, classes).
        new_modality, old_modality: names in the windows.
        pair, val: indices of the windows to train on and to validate with.
        cache: where targets, and signals, are kept.
        folder: for targets on disk.
        batch_size: windows per call where nothing is trained.
    """

    windows: Windows
    new: Encoder
    teacher: Teacher
    new_features: FeatureStore
    teacher_logits: np.ndarray
    new_modality: str
    old_modality: str
    pair: np.ndarray
    val: np.ndarray
    cache: CacheSettings
    folder: pathlib.Path
    batch_size: int = 32

    def __post_init__(self) -> None:
        self._targets: collections.OrderedDict[TargetKind, Targets] = collections.OrderedDict()

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of a batch of one new and of one old signal."""
        return ((1, *self.windows.shape(self.new_modality)),
                (1, *self.windows.shape(self.old_modality)))

    def reader(self, modality: str) -> Read:
        return lambda indices: self.windows.read(modality, indices)

    def indices(self, split: str) -> np.ndarray:
        """Returns the windows of "pair" or "val"."""
        return {"pair": self.pair, "val": self.val}[split]

    def targets(self, kind: TargetKind) -> Targets:
        """Returns the old encoder's tokens on the pair and then the val windows, captured once."""
        if kind not in self._targets:
            self._targets[kind] = Targets(
                self.teacher.encoder, self.reader(self.old_modality),
                np.concatenate([self.pair, self.val]), kind, self.cache, folder=self.folder,
                key=self.windows.hash, batch_size=self.batch_size,
            )
            while len(self._targets) > _KEPT_TARGETS:
                self._targets.popitem(last=False)
        self._targets.move_to_end(kind)
        return self._targets[kind]

    def target_rows(self, split: str) -> np.ndarray:
        """Returns the rows of "pair" or "val" in `targets`."""
        if split == "pair":
            return np.arange(len(self.pair))
        return len(self.pair) + np.arange(len(self.val))

    def rows(
        self, split: str, *, signals: Mapping[str, str] | None = None, arrays: Batch | None = None,
        kind: TargetKind | None = None,
    ) -> Rows:
        """Returns what reads training rows of "pair" or "val", by position in the split.

        Args:
            split: "pair" or "val".
            signals: name in the batch -> modality.
            arrays: further arrays with one row per window of the split.
            kind: for the old encoder's tokens under "target".
        """
        windows, arrays = self.indices(split), arrays or {}
        targets = None if kind is None else self.targets(kind)
        where = self.target_rows(split)

        def read(rows: np.ndarray) -> dict[str, np.ndarray]:
            found = {name: values[rows] for name, values in arrays.items()}
            for name, modality in (signals or {}).items():
                found[name] = np.asarray(self.windows.read(modality, windows[rows]))
            if targets is not None:
                found["target"] = targets.rows(where[rows])
            return found

        return read

    def source(self, trainer: Trainer, split: str, read: Rows) -> Source:
        """Returns the rows on the devices if they fit its budget, else read ahead."""
        count = len(self.indices(split))
        one = sum(values.nbytes for values in read(np.arange(1)).values())
        if one * count <= self.cache.device_gb * 1e9:
            return Placed(trainer, read(np.arange(count)))
        return Streamed(read, count, one)

    def untrained(
        self, position: Position, settings: BridgeSettings, *, seed: int
    ) -> BridgedModel:
        """Returns the bridged model with the bridge as it starts."""
        old, prototypes = self.teacher.encoder, None
        if settings.prototypes == "real":
            prototypes = real_tokens(
                old, self.reader(self.old_modality), self.pair,
                target_kind(old, position, "bridge_output"), settings.num_prototypes, seed=seed,
            )
        bridge = new_bridge(
            self.new, old, position, self.shapes, settings, seed=seed, prototypes=prototypes
        )
        return BridgedModel(
            self.new, old, bridge, self.teacher.head, position, pool=settings.pool
        )

    def train(
        self, model: BridgedModel, settings: BridgeSettings, *, seed: int,
        order: np.ndarray | None = None, what: str = "training the bridge",
        checkpoints: TrainingCheckpoints | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
    ) -> tuple[BridgedModel, list[Epoch]]:
        """Trains a bridge on the pairs; with no epochs it stays at its closed-form start.

        Args:
            model: from `untrained`.
            settings: see `BridgeSettings`.
            seed: fixes the order of windows.
            order: pair order[i] of the new modality goes with pair i of the old; None for their own.
            what: for progress and messages.
            checkpoints, on_epoch: see `jaxbridge.training.fitting.fit`.

        Raises:
            InputError: features of another pooling, or see `train_bridge`.
        """
        model = self._started(model, settings, order)
        if not settings.epochs:
            return model, []
        pair, val = self._sources(model, settings, order)
        return train_bridge(
            self.new, model.old, model.head, model.bridge, model.position, pair, val, settings,
            seed=seed, num_pairs=len(self.pair), what=what, checkpoints=checkpoints,
            on_epoch=on_epoch,
        )

    def train_grid(
        self, models: Sequence[BridgedModel], settings: Sequence[BridgeSettings], *, seed: int,
        what: str, checkpoints: TrainingCheckpoints | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
    ) -> tuple[list[BridgedModel], list[Epoch]]:
        """Trains bridges on the pairs in one compiled step; see `train`, `bridge_grid.train_grid`."""
        pair, val = self._sources(models[0], settings[0], None)
        models = [
            self._started(model, one, None) for model, one in zip(models, settings, strict=True)
        ]
        return train_grid(
            models, settings, pair, val, seed=seed, num_pairs=len(self.pair), what=what,
            checkpoints=checkpoints, on_epoch=on_epoch,
        )

    def _started(
        self, model: BridgedModel, settings: BridgeSettings, order: np.ndarray | None
    ) -> BridgedModel:
        """Returns the model as its training starts; with "ridge" that depends on the pairs."""
        if settings.start == "random":
            return model
        kind = target_kind(model.old, model.position, "bridge_output")
        read = self.reader(self.old_modality)

        def tokens(split: str, rows: np.ndarray) -> Iterator[np.ndarray]:
            return batches(
                kind, model.old, read, self.indices(split)[rows], batch_size=self.batch_size,
                what=f"the bridge's start, {split} windows",
            )

        inputs = self.bridge_inputs(model, settings, order)
        bridge, penalty = closed_form(
            model.bridge, {split: batch["pooled"] for split, batch in inputs.items()}, tokens
        )
        _log.info("the bridge starts at a ridge map, penalty %g of the features' variance", penalty)
        return BridgedModel(
            model.new, model.old, bridge, model.head, model.position, pool=settings.pool
        )

    def _sources(
        self, model: BridgedModel, settings: BridgeSettings, order: np.ndarray | None
    ) -> list[Callable[[Trainer], Source]]:
        inputs = self.bridge_inputs(model, settings, order)
        targets = self.targets(target_kind(model.old, model.position, settings.location))

        def source_of(split: str) -> Callable[[Trainer], Source]:
            return lambda trainer: targets.source(trainer, inputs[split], self.target_rows(split))

        return [source_of("pair"), source_of("val")]

    def bridge_inputs(
        self, model: BridgedModel, settings: BridgeSettings, order: np.ndarray | None = None
    ) -> dict[str, Batch]:
        """Returns what a bridge reads, and the teacher's logits, of the pair and val windows."""
        if (kept := self.new_features.key["pool"]) != settings.pool:
            raise InputError(
                f"the features are pooled by {kept}, the bridge takes {settings.pool}; capture them "
                "with that pooling."
            )
        pair = self.pair if order is None else self.pair[order]
        new, logits = self.new_features, self.teacher_logits
        return {
            split: {"pooled": new.outputs(model.position.m, rows), "logits": logits[paired]}
            for split, rows, paired in (("pair", pair, self.pair), ("val", self.val, self.val))
        }
