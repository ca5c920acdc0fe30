"""Windows that are in memory already, read like a window store."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from jaxbridge.data.splits import SPLITS
from model_ports.errors import InputError


class ArrayWindows:
    """Paired windows given as arrays.

    Args:
        arrays: modality -> (windows, ...) float array, as the modality's encoder takes it.
        labels: (windows,) integers from 0.
        splits: (windows,) names out of "train", "val", "pair", "test".
        class_names: one per class.
        subjects: (windows,) names of people; None where unknown. Folds then cannot keep people
            apart.

    Raises:
        InputError: arrays of different lengths, NaN, unknown splits or classes.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], labels: np.ndarray, splits: np.ndarray,
        class_names: Sequence[str], subjects: np.ndarray | None = None,
    ):
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self.labels, self.splits = np.asarray(labels), np.asarray(splits)
        self.class_names = tuple(class_names)
        self.subjects = None if subjects is None else np.asarray(subjects).astype(str)
        lengths = {name: len(array) for name, array in self._arrays.items()}
        lengths |= {"labels": len(self.labels), "splits": len(self.splits)}
        if self.subjects is not None:
            lengths["subjects"] = len(self.subjects)
        if len(set(lengths.values())) != 1:
            listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise InputError(f"windows must come in pairs, with one label each, not {listed}.")
        for name, array in self._arrays.items():
            bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
            if bad.size:
                raise InputError(
                    f"window {bad[0]} of {name} has NaN or infinite samples; leave it out."
                )
        if unknown := sorted(set(self.splits) - set(SPLITS)):
            raise InputError(f"unknown splits {unknown}; name them {', '.join(SPLITS)}.")
        if not set(np.unique(self.labels)) <= set(range(len(self.class_names))):
            raise InputError(
                f"labels must be 0 to {len(self.class_names) - 1}, one for each class name."
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    @property
    def hash(self) -> str:
        """SHA-256 of all arrays, labels, splits and subjects."""
        digest = hashlib.sha256()
        parts = [(n, a) for n, a in sorted(self._arrays.items())]
        parts += [("labels", self.labels), ("splits", self.splits.astype("S8"))]
        if self.subjects is not None:
            parts.append(("subjects", np.char.encode(self.subjects, "utf-8")))
        for name, array in parts:
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def sources(self) -> Mapping[str, str]:
        """Source file -> SHA-256: none, the arrays are all there is."""
        return {}

    def indices(self, split: str) -> np.ndarray:
        """Returns the windows of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def shape(self, modality: str) -> tuple[int, ...]:
        """Returns the shape of one window."""
        return self._arrays[modality].shape[1:]

    def read(self, modality: str, indices: np.ndarray) -> np.ndarray:
        """Returns windows, (k, ...)."""
        return self._arrays[modality][indices]
