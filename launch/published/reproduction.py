"""One published direction from files to a table: windows, encoders, the transfer of every seed."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

import model_ports as mp
from jaxbridge import TransferSettings, transfer
from jaxbridge.bridged_model import Position
from jaxbridge.data.preparation import prepare
from jaxbridge.data.splits import SplitRule, split_subjects
from jaxbridge.data.store import WindowStore
from jaxbridge.metrics import evaluate
from jaxbridge.report import table
from jaxbridge.run_folder import read_arrays
from jaxbridge.saved_head import SavedHead
from jaxbridge.statistics.folds import FoldWindows, subject_folds
from jaxbridge.statistics.intervals import intervals
from jaxbridge.statistics.predictions import Predictions
from launch.published.data_sets import DATA_SETS, opened
from launch.published.directions import Direction
from launch.published.encoders import study_encoder
from launch.shared_store import shared_store
from model_ports.errors import InputError

# Method -> its name in report/predictions.npz.
METHODS = {
    "teacher": "teacher", "bridge": "bridge", "bridge, shuffled pairs": "shuffled",
    "oracle": "oracle",
}
_log = logging.getLogger("jaxbridge")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a direction is reproduced.

    Attributes:
        direction: which one.
        data: folder of its files; None simulates them.
        checkpoints: folder of weights; None for random ones.
        out: folder of the study.
        scan: choose the position by the two-stage scan where the direction states one.
        split: split rule in place of the direction's.
        layout: the bridge's, where LaBraM is the old encoder; see `PrototypeBridge`.
        dtype: compute type of both encoders.
        workers: processes that read recordings.
        head: seed and old encoder -> a head that was fitted before, or None.
    """

    direction: Direction
    data: str | None
    checkpoints: str | None
    out: pathlib.Path
    scan: bool = False
    split: str | None = None
    layout: str = "paper"
    dtype: str = "float32"
    workers: int = 0
    head: Callable[[mp.Encoder, int], SavedHead | None] = lambda old, seed: None

    @property
    def simulated(self) -> bool:
        return self.data is None

    def seed(self, seed: int) -> list[dict[str, Any]]:
        """Runs one seed in seed_N; returns rows of its table."""
        folder = self.out / f"seed_{seed}"
        return self._transferred(self._windows(seed), seed, folder / "run")

    def folds(self, seed: int, count: int) -> list[dict[str, Any]]:
        """Runs one seed's folds in seed_N/fold_K: every subject is tested once, by a run without it.

        Returns:
            Rows as `seed` has them, of all folds' predictions on their test subjects together, with
            95 % intervals over subjects under `<score>_low` and `<score>_high`.

        Raises:
            InputError: a split rule other than by subject; folds that are not possible; a file of a
                finished fold that is missing or damaged.
        """
        if self._rule(seed).rule != "subject":
            raise InputError("folds are of subjects: leave out --split, or give --split=subject.")
        store = self._all_windows()
        folds = subject_folds(store.subjects, count, seed=seed)
        pooled: dict[str, list[Predictions]] = {method: [] for method in METHODS}
        parameters: dict[str, list[int]] = {method: [] for method in METHODS}
        for i, fold in enumerate(folds):
            _log.info("--- fold %d of %d", i + 1, count)
            folder = self.out / f"seed_{seed}" / f"fold_{i}" / "run"
            rows = self._transferred(FoldWindows(store, fold), seed, folder)
            found = read_arrays(folder / "report" / "predictions.npz")
            tested = found["windows_test"]
            for method, name in METHODS.items():
                predicted = np.eye(len(store.class_names))[found[f"{name}_test"]]
                pooled[method].append(Predictions(
                    predicted, store.labels[tested], store.subjects[tested], seed, i
                ))
                parameters[method] += [
                    row["trainable_parameters"] for row in rows if row["method"] == method
                ]
        return [
            {
                "method": method, "modality": "", "split": "test",
                "trainable_parameters": round(np.mean(parameters[method])),
                **_together(runs, store.class_names),
            }
            for method, runs in pooled.items()
        ]

    def _transferred(self, windows: Any, seed: int, out: pathlib.Path) -> list[dict[str, Any]]:
        direction = self.direction
        modalities = windows.metadata["modalities"]
        old, new = (
            study_encoder(
                name, modalities[modality]["leads"], checkpoints=self.checkpoints,
                small=self.simulated, seed=first + seed, dtype=self.dtype,
            )
            for (modality, name), first in zip(direction.encoders.items(), (0, 1000), strict=True)
        )
        settings = TransferSettings(
            *direction.modalities, position=self._position(old, new), head=direction.head,
            bridge=direction.bridge, seed=seed,
        )
        if direction.old == "labram":
            settings = dataclasses.replace(
                settings, bridge=dataclasses.replace(settings.bridge, layout=self.layout)
            )
        if self.simulated:
            settings = _reduced(settings)
        result = transfer(windows, old, new, settings, out=out, head=self.head(old, seed))
        if result.selection is not None:
            m, l = result.selection.m, result.selection.l  # noqa: E741
            print(f"chosen: output of new layer {m} into the input of old layer {l}")
        return result.metrics

    def _position(self, old: mp.Encoder, new: mp.Encoder) -> Position | None:
        found = self.direction.position
        if self.scan or (found is None and not self.simulated):
            return None
        if self.simulated:  # small encoders have fewer layers, and after two epochs nothing to scan
            last = Position(new.num_layers - 1, old.num_layers - 1)
            return last if found is None else Position(min(found.m, last.m), min(found.l, last.l))
        return found

    def _windows(self, seed: int) -> Any:
        rule = self._rule(seed)
        if rule.rule != "subject":
            return self._store(self.out / f"seed_{seed}" / "windows", rule)
        # By subject, one store serves all seeds.
        store = self._all_windows()
        dealt = split_subjects(store.subjects.tolist(), rule.sizes, seed)
        split_of = {name: split for split, members in dealt.items() for name in members}
        return FoldWindows(store, split_of)

    def _rule(self, seed: int) -> SplitRule:
        found = DATA_SETS[self.direction.dataset]
        sizes = found.simulated.sizes if self.simulated else found.sizes
        return SplitRule(sizes, self.split or self.direction.split or found.rule, seed)

    def _all_windows(self) -> WindowStore:
        return self._store(self.out / "windows", SplitRule({"pair": 1.0}))

    def _store(self, path: pathlib.Path, rule: SplitRule) -> WindowStore:
        direction = self.direction
        simulated = DATA_SETS[direction.dataset].simulated

        def make() -> WindowStore:
            folder, options = self.data, direction.options
            if folder is None:
                folder = self.out.parent / f"simulated_{direction.dataset}"
                if not folder.exists():
                    aside = folder.with_name(f".{folder.name}.partial")
                    simulated.write(aside)
                    aside.rename(folder)
                options = {**options, **simulated.options}
            dataset = opened(direction.dataset, folder, direction.encoders, **options)
            return prepare(path, dataset, rule, workers=self.workers)[0]

        return shared_store(make)


def _reduced(settings: TransferSettings) -> TransferSettings:
    head, bridge = settings.head, settings.bridge
    return dataclasses.replace(
        settings,
        head=dataclasses.replace(head, epochs=min(head.epochs, 2)),
        bridge=dataclasses.replace(
            bridge, epochs=min(bridge.epochs, 2), batch_size=8, rank=min(bridge.rank, 8),
            num_prototypes=min(bridge.num_prototypes, 10),
        ),
    )


def _together(runs: list[Predictions], class_names: tuple[str, ...]) -> dict[str, Any]:
    labels, predicted = (
        np.concatenate([getattr(run, name) for run in runs]) for name in ("labels", "predicted")
    )
    found = evaluate(labels, predicted, class_names)
    for score, interval in intervals(runs).items():
        found |= {f"{score}_low": interval.low, f"{score}_high": interval.high}
    return found


def summary(per_seed: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Returns rows of the mean over seeds; intervals, which are one seed's, are kept of one only."""
    rows = table.summarise(per_seed)
    if len(per_seed) > 1:
        return rows
    return [
        row | {key: value for key, value in one.items() if key.endswith(("_low", "_high"))}
        for row, one in zip(rows, per_seed[0], strict=True)
    ]
