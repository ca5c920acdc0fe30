"""The supervised new modality: what labels would give."""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from jaxbridge.methods.cost import count_parameters, step_program
from jaxbridge.methods.gradient import EpochSeconds, checkpoints
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.prefix_classifier import PrefixClassifier
from jaxbridge.methods.study_data import StudyData
from jaxbridge.teacher import (
    HeadSettings,
    fit_head,
    fit_unfrozen,
    supervised_batch,
    supervised_trainer,
)


@dataclasses.dataclass(frozen=True)
class Oracle(Method):
    """A head on the new layer that the bridge reads, or the whole new encoder, fitted to labels.

    It is fitted to the windows that the teacher was fitted to, of the new modality.

    Attributes:
        head: how; `head.unfrozen` trains the encoder and reads its last layer.
    """

    name: str = "oracle"
    head: HeadSettings = HeadSettings()
    reads_labels: ClassVar[bool] = True
    is_control: ClassVar[bool] = True

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        splits = {split: data.windows.indices(split) for split in ("train", "val")}
        seconds, settings = EpochSeconds(), self.head
        if settings.unfrozen:
            train, val = (
                (data.windows.read(data.new_modality, rows), data.labels(rows))
                for rows in splits.values()
            )
            about = {"method": dataclasses.asdict(self), "seed": seed}
            with checkpoints(folder, data, about) as kept:
                model, curve = fit_unfrozen(
                    data.new, train, val, data.num_classes, settings, seed=seed,
                    what=f"training {self.name}", checkpoints=kept, on_epoch=seconds.add,
                )
            module = model
        else:
            features = data.new_features.outputs(data.position.m)
            train, val = ((features[rows], data.labels(rows)) for rows in splits.values())
            module, curve = fit_head(
                train, val, data.num_classes, settings, seed=seed, what=f"fitting {self.name}",
                on_epoch=seconds.add,
            )
            pool = data.new_features.key["pool"]
            model = PrefixClassifier(data.new, data.position.m + 1, pool, module)
        some = train[0][: settings.batch_size]
        batch = supervised_batch(some, np.zeros(len(some), np.int32), np.ones(data.num_classes))
        counts = count_parameters(
            model, data.shapes[0], lambda path: settings.unfrozen or path.startswith("head.")
        )
        return Fitted(
            model, "new", *counts, program=step_program(supervised_trainer(module, settings), batch),
            train_samples=len(curve) * len(train[0]), curve=curve, epoch_s=seconds.median(),
        )
