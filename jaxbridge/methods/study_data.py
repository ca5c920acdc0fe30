"""What all methods of a comparison share: teacher, features, pseudo-labels, position."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from jaxbridge.bridged_model import Position
from jaxbridge.features.store import FeatureStore
from jaxbridge.pipeline import TransferSettings, Windows, choose_position
from jaxbridge.run_folder import read_curve
from jaxbridge.selection.two_stage import Selection
from jaxbridge.training.pair_data import PairData
from model_ports import Encoder


@dataclasses.dataclass(eq=False, kw_only=True)
class StudyData(PairData):
    """Made once per (windows, encoders, head settings, seed); every method is fitted on it.

    Of `PairData` come the frozen encoders, captured features, pseudo-labels and targets.

    Attributes:
        settings: of the transfer; `settings.bridge` is what methods take their epochs and batch
            sizes from where they are given none.
        position: (m, l), scanned or given.
        selection: scores of all positions, None where the position was given.
        old_features: pooled features of all windows.
        teacher_seconds, teacher_epochs: wall time and epochs that the teacher took.
    """

    windows: Windows
    settings: TransferSettings
    position: Position
    selection: Selection | None
    old_features: FeatureStore
    teacher_seconds: float
    teacher_epochs: int

    @classmethod
    def prepare(
        cls, windows: Windows, old: Encoder, new: Encoder, settings: TransferSettings, *,
        out: str | pathlib.Path,
    ) -> "StudyData":
        """Fits the teacher, captures features and chooses the position; finished stages are kept.

        Args:
            windows, old, new, settings: see `jaxbridge.transfer`.
            out: run folder; `transfer` with the same arguments goes on in it.

        Raises:
            InputError: see `transfer`.
        """
        found = choose_position(windows, old, new, settings, out=out)
        shared = {
            field.name: getattr(found.data, field.name) for field in dataclasses.fields(PairData)
        }
        return cls(
            **shared, settings=settings, position=found.position, selection=found.selection,
            old_features=found.old_features, teacher_seconds=found.teacher_seconds,
            teacher_epochs=len(read_curve(pathlib.Path(out) / "teacher" / "curve.csv")),
        )

    def with_pairs(self, pair: np.ndarray) -> "StudyData":
        """Returns the same with other pair windows, such as `splits.pair_fraction.kept_pairs`."""
        return dataclasses.replace(self, pair=np.asarray(pair))

    @property
    def num_classes(self) -> int:
        return len(self.windows.class_names)

    def labels(self, indices: np.ndarray) -> np.ndarray:
        """Returns true classes: for the methods that are supervised, and for evaluation."""
        return self.windows.labels[indices]

    def embeddings(self, indices: np.ndarray) -> np.ndarray:
        """Returns what the teacher's head reads of old windows, (k, features)."""
        return self.old_features.outputs(self.teacher.encoder.num_layers - 1, indices)

    def identity(self) -> dict[str, Any]:
        """Returns what decides results beside a method and its seed, JSON-able."""
        return {
            **self.settings.identity(), "windows_hash": self.windows.hash,
            "new_features": self.new_features.key, "old_features": self.old_features.key,
            "position": list(self.position), "pairs": self.pair.tolist(),
        }
