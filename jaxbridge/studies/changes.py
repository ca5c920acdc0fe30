"""What a variation changes in the data that all methods share: pairs, partners, noise."""

import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np

from jaxbridge.data.splits.pair_fraction import check_fraction, kept_pairs
from jaxbridge.features.store import FeatureStore, ensure_features
from jaxbridge.methods import StudyData
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Change:
    """Nothing is changed; the base of all changes."""

    def apply(self, data: StudyData, seed: int, folder: pathlib.Path) -> StudyData:
        """Returns data of which the teacher, old features and the position are `data`'s.

        Args:
            data: as prepared.
            seed: fixes what is drawn.
            folder: for features that are captured anew.

        Raises:
            InputError: the windows do not allow it.
        """
        del seed, folder
        return data


@dataclasses.dataclass(frozen=True)
class PairFraction(Change):
    """A share of the pairs, see `splits.pair_fraction`; a smaller share is part of a larger one."""

    fraction: float

    def __post_init__(self) -> None:
        check_fraction(self.fraction)

    def apply(self, data: StudyData, seed: int, folder: pathlib.Path) -> StudyData:
        return data.with_pairs(
            np.intersect1d(data.pair, kept_pairs(data.windows, self.fraction, seed))
        )


@dataclasses.dataclass(frozen=True)
class WrongPartners(Change):
    """A share of the pairs get the new window of another one of them, the same for all methods.

    Of one wrong pair alone nothing can be swapped: it stays.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise InputError(f"wrong partners: {self.fraction:g} is no share; give 0 to 1.")

    def apply(self, data: StudyData, seed: int, folder: pathlib.Path) -> StudyData:
        chosen = np.random.default_rng(seed).permutation(data.pair)
        chosen = chosen[: round(self.fraction * len(chosen))]
        source = np.arange(len(data.windows.labels))
        source[chosen] = np.roll(chosen, 1)
        return dataclasses.replace(
            data, windows=_OtherPartners(data.windows, data.new_modality, source),
            new_features=_OtherRows(data.new_features, source),
        )


@dataclasses.dataclass(frozen=True)
class Misaligned(Change):
    """The new windows of pairs begin later than the old ones; test windows are as they are.

    The last window of a recording has nothing behind it and is left out of the pairs, also where the
    shift is 0, so that shifts differ in nothing else.

    Attributes:
        shift_s: seconds, at most a window's length; rounded to whole samples.
    """

    shift_s: float

    def apply(self, data: StudyData, seed: int, folder: pathlib.Path) -> StudyData:
        followed = np.flatnonzero(_next_window(data.windows) >= 0)
        pair, val = (np.intersect1d(rows, followed) for rows in (data.pair, data.val))
        if not len(pair) or not len(val):
            raise InputError("misalignment: no recording has two windows without a gap between them.")
        kept = dataclasses.replace(data, pair=pair, val=val)
        if not self.shift_s:
            return kept
        shifted = _Shifted(
            data.windows, data.new_modality, self.shift_s,
            np.isin(np.arange(len(data.windows.labels)), np.concatenate([pair, val])),
        )
        return _recaptured(kept, shifted, folder)


@dataclasses.dataclass(frozen=True)
class Noisy(Change):
    """White Gaussian noise on all new windows, test windows included.

    Attributes:
        snr_db: power of a window about its mean over that of its noise, in decibels.
    """

    snr_db: float

    def apply(self, data: StudyData, seed: int, folder: pathlib.Path) -> StudyData:
        noisy = _WithNoise(data.windows, data.new_modality, self.snr_db, seed)
        return _recaptured(data, noisy, folder)


def _recaptured(data: StudyData, windows: Any, folder: pathlib.Path) -> StudyData:
    """Returns data with other new windows, and their features."""
    features = ensure_features(
        folder, data.new, windows, data.new_modality, pool=data.new_features.key["pool"],
        batch_size=data.batch_size,
    )
    return dataclasses.replace(data, windows=windows, new_features=features)


class _Changed:
    """Windows of which one modality reads otherwise; all else is theirs."""

    def __init__(self, windows: Any, modality: str, mark: str):
        self._windows, self._modality = windows, modality
        self.hash: str = hashlib.sha256(f"{windows.hash}:{modality}:{mark}".encode()).hexdigest()

    def read(self, modality: str, indices: np.ndarray) -> np.ndarray:
        """Returns windows, (k, ...)."""
        indices = np.asarray(indices)
        if modality != self._modality:
            return self._windows.read(modality, indices)
        return self._read(indices)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._windows, name)


class _OtherPartners(_Changed):
    def __init__(self, windows: Any, modality: str, source: np.ndarray):
        super().__init__(windows, modality, f"partners:{source.tolist()}")
        self._source = source

    def _read(self, indices: np.ndarray) -> np.ndarray:
        return self._windows.read(self._modality, self._source[indices])


class _OtherRows:
    """Features of which some windows' rows are those of others; all else is theirs."""

    def __init__(self, features: FeatureStore, source: np.ndarray):
        self._features, self._source = features, source
        self.key = {**features.key, "source_sha256": hashlib.sha256(source.tobytes()).hexdigest()}

    def outputs(self, i: int, indices: np.ndarray | None = None) -> np.ndarray:
        """Pooled output of layer `i`, (n, width)."""
        rows = self._source if indices is None else self._source[indices]
        return self._features.outputs(i, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._features, name)


class _Shifted(_Changed):
    def __init__(self, windows: Any, modality: str, shift_s: float, chosen: np.ndarray):
        length_s = windows.metadata["window_s"]
        if not 0 <= shift_s <= length_s:
            raise InputError(
                f"a shift of {shift_s:g} s: give 0 to {length_s:g} s, a window's length."
            )
        super().__init__(windows, modality, f"shift_s:{shift_s!r}")
        self._share, self._chosen = shift_s / length_s, chosen
        self._next = _next_window(windows)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        found = self._windows.read(self._modality, indices).copy()
        moved = np.flatnonzero(self._chosen[indices])
        if len(moved):
            later = self._windows.read(self._modality, self._next[indices[moved]])
            found[moved] = _later(found[moved], later, self._share)
        return found


class _WithNoise(_Changed):
    def __init__(self, windows: Any, modality: str, snr_db: float, seed: int):
        super().__init__(windows, modality, f"snr_db:{snr_db!r}:{seed}")
        self._scale, self._seed = 10 ** (-snr_db / 20), seed

    def _read(self, indices: np.ndarray) -> np.ndarray:
        found = self._windows.read(self._modality, indices)
        noise = np.stack([
            np.random.default_rng([self._seed, int(i)]).standard_normal(found.shape[1:], np.float32)
            for i in indices
        ])
        deviation = found.std(axis=tuple(range(1, found.ndim)), keepdims=True)
        return (found + self._scale * deviation * noise).astype(found.dtype)


def _next_window(windows: Any) -> np.ndarray:
    """Returns which window begins where each one ends, (windows,); -1 where there is none."""
    missing = [name for name in ("recordings", "start_s", "metadata") if not hasattr(windows, name)]
    if missing or "window_s" not in windows.metadata or np.isnan(windows.start_s).any():
        raise InputError(
            "misalignment needs windows of which recording, start and length are known: a window store."
        )
    length_us = round(1e6 * windows.metadata["window_s"])
    starts = np.round(1e6 * windows.start_s).astype(np.int64).tolist()
    at = {key: i for i, key in enumerate(zip(windows.recordings.tolist(), starts, strict=True))}
    return np.array([
        at.get((recording, start + length_us), -1)
        for recording, start in zip(windows.recordings.tolist(), starts, strict=True)
    ])


def _later(windows: np.ndarray, following: np.ndarray, share: float) -> np.ndarray:
    """Returns windows that begin a share of their length later; (k, samples), or (k, leads, ...)."""
    leads = (len(windows), 1 if windows.ndim == 2 else windows.shape[1], -1)
    both = np.concatenate([windows.reshape(leads), following.reshape(leads)], axis=2)
    samples = both.shape[2] // 2
    first = round(share * samples)
    return both[:, :, first : first + samples].reshape(windows.shape)
