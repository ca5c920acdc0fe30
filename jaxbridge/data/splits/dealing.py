"""Dealing names out to splits: no name is in two of them.

Names are ordered by the SHA-256 digest of "seed:name" and dealt out in that order. So a split
depends on nothing but names, sizes and seed: not on the order of files in a folder, nor on the
platform or the NumPy version (whose random streams are not promised to stay).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from model_ports.errors import InputError

SPLITS = ("train", "val", "pair", "test")


def split_subjects(
    subjects: Iterable[str], sizes: Mapping[str, float], seed: int | str, what: str = "subjects"
) -> dict[str, tuple[str, ...]]:
    """Deals subjects (or other names) out to splits.

    Args:
        subjects: names; a name given twice counts once.
        sizes: split -> number of subjects (all integers), or split -> fraction of them (all
            floats, together at most 1). Fractions are rounded by largest remainder, and each
            split gets a subject at least. What is left over belongs to no split.
        seed: any integer (or text).
        what: what the names are, for messages.

    Returns:
        split -> sorted subjects, in the order of `sizes`.

    Raises:
        InputError: unknown split; counts mixed with fractions; a size that is not positive; more
            wanted than there are subjects.
    """
    names = sorted(set(subjects), key=lambda name: (digest(seed, name), name))
    counts = _counts(sizes, len(names), what)
    result, start = {}, 0
    for split, count in counts.items():
        result[split] = tuple(sorted(names[start : start + count]))
        start += count
    return result


def digest(seed: int | str, name: str) -> bytes:
    """What names are ordered by: SHA-256 of "seed:name"."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def check_sizes(sizes: Mapping[str, float]) -> bool:
    """Returns whether sizes are fractions, as opposed to counts.

    Raises:
        InputError: unknown split; a size that is not positive; counts mixed with fractions;
            fractions above 1 in all.
    """
    unknown = [split for split in sizes if split not in SPLITS]
    if unknown or not sizes:
        raise InputError(f"Unknown splits {unknown}. Name some of {', '.join(SPLITS)}.")
    listed = ", ".join(f"{split}={size}" for split, size in sizes.items())
    if not all(math.isfinite(size) and size > 0 for size in sizes.values()):
        raise InputError(f"Split sizes {listed}: every size must be positive. Leave out the rest.")
    whole = [isinstance(size, int) for size in sizes.values()]
    if any(whole) and not all(whole):
        raise InputError(f"Split sizes {listed}: give all as counts (9) or all as fractions (0.4).")
    if not all(whole) and sum(sizes.values()) > 1 + 1e-9:
        raise InputError(f"Split sizes {listed}: the fractions exceed 1. Reduce them.")
    return not all(whole)


def _counts(sizes: Mapping[str, float], available: int, what: str) -> dict[str, int]:
    counts = _shares(sizes, available) if check_sizes(sizes) else dict(sizes)
    if sum(counts.values()) > available:
        listed = ", ".join(f"{split}={size}" for split, size in sizes.items())
        raise InputError(
            f"Splits {listed} need {sum(counts.values())} {what}, there are {available}. "
            f"Add {what} or reduce the sizes."
        )
    return counts


def _shares(sizes: Mapping[str, float], available: int) -> dict[str, int]:
    exact = {split: size * available for split, size in sizes.items()}
    counts = {split: max(1, math.floor(share + 1e-9)) for split, share in exact.items()}
    spare = math.floor(sum(exact.values()) + 1e-9) - sum(counts.values())
    by_remainder = sorted(exact, key=lambda split: counts[split] - exact[split])
    for split in by_remainder[: max(spare, 0)]:
        counts[split] += 1
    while sum(counts.values()) > available and max(counts.values()) > 1:
        counts[max(counts, key=counts.get)] -= 1
    return counts


def check_classes(
    labels: np.ndarray, splits: np.ndarray, class_names: Sequence[str], wanted: Iterable[str]
) -> None:
    """Refuses splits that lack a class.

    Args:
        labels: (windows,) class indices.
        splits: (windows,) split names.
        class_names: name of each class.
        wanted: the splits whose labels are used.

    Raises:
        InputError: a class has no window in a wanted split.
    """
    for split in wanted:
        present = set(labels[splits == split].tolist())
        for index, class_name in enumerate(class_names):
            if index not in present:
                raise InputError(
                    f"Class {class_name!r} has no window in split {split!r}. Give that split more "
                    "(--sizes), use another seed, or leave the class out."
                )
