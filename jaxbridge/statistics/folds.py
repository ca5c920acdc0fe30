"""Cross-validation by subject: every subject is tested once, and never trained on meanwhile."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxbridge.data.splits import check_classes, split_subjects
from model_ports.errors import InputError

_REST = {"train": 0.45, "val": 0.15, "pair": 0.4}


def subject_folds(
    subjects: Iterable[str], num_folds: int, *, sizes: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[dict[str, str]]:
    """Deals subjects out to test sets, and each fold's other subjects to train, val and pair.

    Args:
        subjects: names; repeated ones count once.
        num_folds: test sets, which differ in size by one subject at most.
        sizes: split -> share of a fold's other subjects; by default 45 % train, 15 % val, 40 % pair.
        seed: fixes the deal, which depends on names and nothing else.

    Returns:
        For each fold, subject -> split.

    Raises:
        InputError: fewer subjects than folds, fewer than 2 folds, or too few for the other splits.
    """
    names = sorted(set(map(str, subjects)))
    if not 2 <= num_folds <= len(names):
        raise InputError(
            f"{num_folds} folds of {len(names)} subjects; use 2 to {len(names)} folds."
        )
    shuffled = sorted(
        names, key=lambda name: hashlib.sha256(f"folds:{seed}:{name}".encode()).digest()
    )
    folds = []
    for fold in range(num_folds):
        test = set(shuffled[fold::num_folds])
        dealt = split_subjects(
            (name for name in names if name not in test), dict(sizes or _REST), seed
        )
        split_of = {name: split for split, members in dealt.items() for name in members}
        folds.append(split_of | dict.fromkeys(sorted(test), "test"))
    return folds


class FoldWindows:
    """Windows with the splits of one fold; all else is theirs.

    Args:
        windows: a `WindowStore`, or `ArrayWindows`, with subjects.
        fold: subject -> split, from `subject_folds`; windows of other subjects belong to none.

    Raises:
        InputError: windows without subjects, or a class that train, val or test lack.
    """

    def __init__(self, windows: Any, fold: Mapping[str, str]):
        if windows.subjects is None:
            raise InputError("folds by subject need the subject of each window.")
        self._windows, self._fold = windows, dict(fold)
        self.splits: np.ndarray = np.array([fold.get(str(name), "") for name in windows.subjects])
        check_classes(windows.labels, self.splits, windows.class_names, ("train", "val", "test"))
        mark = f"{windows.hash}:{sorted(fold.items())!r}"
        self.hash: str = hashlib.sha256(mark.encode()).hexdigest()
        """SHA-256 of the windows' hash and the fold."""

    @property
    def metadata(self) -> dict[str, Any]:
        """The description of a `WindowStore`, with the fold as its split."""
        split = {"rule": "subject", "subjects": dict(self._fold)}
        return {**self._windows.metadata, "split": split}

    def indices(self, split: str) -> np.ndarray:
        """Ascending indices of a split's windows."""
        return np.flatnonzero(self.splits == split)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)
