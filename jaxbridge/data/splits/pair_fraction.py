"""A share of the pair windows, for the study of how many pairs a bridge needs."""

import hashlib
from typing import Any

import numpy as np

from jaxbridge.data.splits.dealing import digest
from model_ports.errors import InputError


def check_fraction(fraction: float) -> None:
    """Raises `InputError` unless 0 < fraction <= 1."""
    if not 0 < fraction <= 1:
        raise InputError(f"A pair fraction of {fraction:g}: give more than 0 and at most 1.")


def kept(
    recordings: np.ndarray, subjects: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Ascending positions of the pair windows that are kept.

    Each subject's windows are ordered by the SHA-256 of names and position within the recording, and
    subjects are gone through side by side, so that each keeps its share. A smaller fraction keeps
    some of what a larger one keeps.

    Args:
        recordings, subjects: (pairs,) names, windows of a recording in time order.
        fraction: share to keep; one window at least.
        seed: any integer.

    Raises:
        InputError: a fraction that is not in (0, 1].
    """
    check_fraction(fraction)
    count = len(recordings)
    if fraction == 1 or not count:
        return np.arange(count)
    seen: dict[str, int] = {}
    order: dict[str, list[tuple[bytes, int]]] = {}
    for i, (recording, subject) in enumerate(zip(recordings.tolist(), subjects.tolist(), strict=True)):
        place = seen[recording] = seen.get(recording, -1) + 1
        order.setdefault(subject, []).append((digest(seed, f"{recording}:{place}"), i))
    ranked = [
        ((2 * rank + 1) / (2 * len(members)), digest(seed, subject), i)
        for subject, members in order.items()
        for rank, (_, i) in enumerate(sorted(members))
    ]
    wanted = max(1, round(fraction * count))
    return np.sort(np.array([i for *_, i in sorted(ranked)[:wanted]]))


def kept_pairs(windows: Any, fraction: float, seed: int = 0) -> np.ndarray:
    """Ascending indices of the pair windows to keep; the same that preparing with it would keep.

    Args:
        windows: a `WindowStore`, or `ArrayWindows`.
        fraction, seed: see `kept`.

    Raises:
        InputError: a fraction that is not in (0, 1]; no pair windows.
    """
    pairs = windows.indices("pair")
    subjects = getattr(windows, "subjects", None)
    subjects = np.full(len(windows.labels), "") if subjects is None else subjects
    recordings = getattr(windows, "recordings", subjects)
    return pairs[kept(recordings[pairs], subjects[pairs], fraction, seed)]


class PairSubset:
    """Windows with a share of their pairs; all else is theirs.

    Args:
        windows: a `WindowStore`, or `ArrayWindows`.
        fraction, seed: see `kept_pairs`.
    """

    def __init__(self, windows: Any, fraction: float, seed: int = 0):
        self._windows = windows
        self._pairs = kept_pairs(windows, fraction, seed)
        mark = f"{windows.hash}:pair_fraction={fraction!r}:{seed}"
        self.hash: str = hashlib.sha256(mark.encode()).hexdigest()
        """SHA-256 of the windows' hash, the fraction and the seed."""

    def indices(self, split: str) -> np.ndarray:
        """Ascending indices of a split's windows, of 'pair' those that are kept."""
        return self._pairs if split == "pair" else self._windows.indices(split)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)
