"""What a study runs on: windows, encoders and settings of one data set."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxbridge.methods import StudyData
from jaxbridge.pipeline import TransferSettings, Windows
from jaxbridge.statistics.folds import FoldWindows, subject_folds
from model_ports import Encoder


class Case(NamedTuple):
    """A seed, and a fold by subject where there are folds."""

    seed: int
    fold: int = 0

    @property
    def folder(self) -> str:
        return f"seed_{self.seed}_fold_{self.fold}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """One data set, ready to be studied.

    Attributes:
        dataset: name.
        settings: of the transfer; the seed is each case's own.
        windows: (seed, folder for them) -> windows.
        encoders: (seed, name) -> the old and the new encoder; the name is "" or of `sizes`.
        sizes: names of new encoders of different sizes.
        folds: folds by subject; 0 takes the windows' own splits.
        same_people: every seed has the same people. Else those of other seeds are others, whatever
            their names.
        about: what else decides the results, JSON-able.
    """

    dataset: str
    settings: TransferSettings
    windows: Callable[[int, pathlib.Path], Windows]
    encoders: Callable[[int, str], tuple[Encoder, Encoder]]
    sizes: Sequence[str] = ()
    folds: int = 0
    same_people: bool = False
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def cases(self, seeds: Sequence[int]) -> list[Case]:
        """Returns every seed with every fold."""
        return [Case(seed, fold) for seed in seeds for fold in range(max(1, self.folds))]

    def prepare(self, case: Case, encoder: str, folder: pathlib.Path) -> StudyData:
        """Returns what all methods share in a case; what was prepared in the folder is kept.

        Raises:
            InputError: windows, folds, encoders or folder do not fit.
        """
        windows = self.windows(case.seed, folder / "windows" / f"seed_{case.seed}")
        if self.folds:
            folds = subject_folds(windows.subjects, self.folds, seed=case.seed)
            windows = FoldWindows(windows, folds[case.fold])
        settings = dataclasses.replace(self.settings, seed=case.seed)
        old, new = self.encoders(case.seed, encoder)
        return StudyData.prepare(
            windows, old, new, settings, out=folder / (encoder or "usual") / case.folder
        )

    def person(self, case: Case, name: str) -> str:
        """Returns a name that tells people of all cases apart."""
        return name if self.same_people else f"{case.seed}/{name}"
