"""Split rules: from recordings, subjects and times to a split per window.

    subject      all windows of a subject in one split
    recording    all windows of a recording in one split; its subject may be in several
    time_block   each recording is cut into consecutive blocks, one per split, with a gap between
    paper        windows at random: the paper's rule for FOG, whose windows overlap by 90 %

Names decide, never positions in a folder; see `dealing`.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxbridge.data.splits.dealing import SPLITS, check_sizes, digest, split_subjects
from jaxbridge.data.splits.pair_fraction import check_fraction, kept
from model_ports.errors import InputError

RULES = ("subject", "recording", "time_block", "paper")
NONE = ""
"""The split of a window that belongs to none; it is not stored."""
# Stratified deals: the most even of so many.
_DEALS = 1000
_SLACK_S = 1e-6


class WindowIndex(NamedTuple):
    """What a split rule may know of all windows of a data set.

    Attributes:
        recordings, subjects: (windows,) names.
        labels: (windows,) class indices.
        start_s: (windows,) start of each in seconds from the start of its recording; NaN if unknown.
        window_s: length of a window in seconds.
    """

    recordings: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    start_s: np.ndarray
    window_s: float

    def by_recording(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields each recording and the indices of its windows, by name."""
        names, codes = np.unique(self.recordings, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        for name, chosen in zip(names, np.split(order, ends[:-1]), strict=True):
            yield str(name), chosen


@dataclass(frozen=True)
class SplitRule:
    """How windows are split.

    Attributes:
        sizes: split -> count of subjects, recordings or windows, or split -> fraction of them (of
            each recording's time for 'time_block', which takes fractions only). See
            `split_subjects`; kept in the order of `SPLITS`, whatever the order given.
        rule: one of `RULES`.
        seed: any integer.
        guard_s: seconds between the blocks of 'time_block'; None for the length of a window.
        stratify: bring the share of each class in every split as close to its overall share as the
            most even of 1000 deals does ('paper': deal each class by itself).
        pair_fraction: share of the pair windows to keep, see `kept_pairs`.

    Raises:
        InputError: values that are unknown, impossible, or of no use to the rule.
    """

    sizes: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.4, "val": 0.1, "pair": 0.3, "test": 0.2}
    )
    rule: str = "subject"
    seed: int = 0
    guard_s: float | None = None
    stratify: bool = False
    pair_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"Unknown split rule {self.rule!r}. Known: {', '.join(RULES)}.")
        fractions = check_sizes(self.sizes)
        # Names are dealt in this order, and a store's hash does not know the one they were given in.
        ordered = {split: self.sizes[split] for split in SPLITS if split in self.sizes}
        object.__setattr__(self, "sizes", ordered)
        if self.rule == "time_block" and not fractions:
            raise InputError("Time blocks are shares of each recording: give fractions (0.4).")
        if self.rule == "paper" and self.stratify and not fractions:
            raise InputError("Random windows of each class take shares: give fractions (0.4).")
        if self.guard_s is not None and self.rule != "time_block":
            raise InputError(f"A guard gap is for time blocks, not for split rule {self.rule!r}.")
        if self.guard_s is not None and not 0 <= self.guard_s < float("inf"):
            raise InputError(f"A guard gap of {self.guard_s:g} s: give 0 or more seconds.")
        check_fraction(self.pair_fraction)

    def metadata(self, window_s: float) -> dict:
        """The rule for a store's description: whatever decides the split."""
        described = {"rule": self.rule, "seed": self.seed, "sizes": dict(self.sizes)}
        if self.rule == "time_block":
            described["guard_s"] = self._guard_s(window_s)
        if self.stratify:
            described["stratify"] = "class"
        if self.pair_fraction != 1:
            described["pair_fraction"] = self.pair_fraction
        return described

    def known_before(self, recordings: Mapping[str, str]) -> dict[str, str] | None:
        """Recording -> split where no window need be seen for it, else None.

        Args:
            recordings: recording -> subject. Those that get no split are left out.

        Raises:
            InputError: see `split_subjects`.
        """
        if self.stratify or self.rule not in ("subject", "recording"):
            return None
        by_subject = self.rule == "subject"
        names = recordings.values() if by_subject else recordings.keys()
        dealt = split_subjects(names, self.sizes, self.seed, f"{self.rule}s")
        split_of = {name: split for split, members in dealt.items() for name in members}
        found = {
            recording: split_of.get(subject if by_subject else recording)
            for recording, subject in recordings.items()
        }
        return {recording: split for recording, split in found.items() if split is not None}

    def assign(
        self, windows: WindowIndex, known: Mapping[str, str] | None = None
    ) -> np.ndarray:
        """Splits of windows.

        Args:
            windows: all windows.
            known: what `known_before` returned.

        Returns:
            (windows,) split names, `NONE` for windows that belong to none.

        Raises:
            InputError: see `split_subjects`; start times that the rule needs are missing; a split
                gets no window.
        """
        if known is not None:
            splits = np.array([known.get(name, NONE) for name in windows.recordings.tolist()], "<U5")
        elif self.rule == "time_block":
            splits = self._time_blocks(windows)
        elif self.rule == "paper":
            splits = self._random_windows(windows)
        else:
            names = windows.subjects if self.rule == "subject" else windows.recordings
            splits = self._whole(names, windows.labels)
        pairs = np.flatnonzero(splits == "pair")
        left_out = np.delete(pairs, kept(
            windows.recordings[pairs], windows.subjects[pairs], self.pair_fraction, self.seed
        ))
        splits[left_out] = NONE
        for split in self.sizes:
            if not np.any(splits == split):
                raise InputError(
                    f"Split {split!r} gets no window by rule {self.rule!r}. Make its size larger, "
                    "the guard gap or the window smaller, or choose another rule."
                )
        return splits

    def _guard_s(self, window_s: float) -> float:
        return float(window_s if self.guard_s is None else self.guard_s)

    def _seeds(self) -> Iterator[int | str]:
        """The seed, and for stratified deals the others to try."""
        yield self.seed
        if self.stratify:
            for deal in range(1, _DEALS):
                yield f"{self.seed}:{deal}"

    def _whole(self, names: np.ndarray, labels: np.ndarray) -> np.ndarray:
        units, unit = np.unique(names, return_inverse=True)
        classes = np.zeros((len(units), labels.max(initial=0) + 1), np.int64)
        np.add.at(classes, (unit, labels), 1)

        def deals() -> Iterator[tuple[float, np.ndarray]]:
            position = {name: i for i, name in enumerate(units.tolist())}
            for seed in self._seeds():
                dealt = split_subjects(position, self.sizes, seed, f"{self.rule}s")
                chosen = [[position[name] for name in members] for members in dealt.values()]
                split_of = np.full(len(units), NONE, "<U5")
                for split, members in zip(dealt, chosen, strict=True):
                    split_of[members] = split
                yield _unevenness(np.stack([classes[members].sum(0) for members in chosen])), split_of

        return min(deals(), key=lambda deal: deal[0])[1][unit]

    def _time_blocks(self, windows: WindowIndex) -> np.ndarray:
        _check_starts(windows, self.rule)
        orders = list(itertools.permutations(self.sizes))
        num_classes = windows.labels.max(initial=0) + 1
        names, members, choices, tables = [], [], [], []
        for name, chosen in windows.by_recording():
            starts = windows.start_s[chosen]
            choice = np.stack([self._blocks(starts, windows.window_s, order) for order in orders])
            table = np.zeros((len(orders), len(self.sizes), num_classes), np.int64)
            for i, split in enumerate(self.sizes):
                np.add.at(table[:, i].T, windows.labels[chosen], (choice == split).T)
            names.append(name)
            members.append(chosen)
            choices.append(choice)
            tables.append(table)
        table = np.stack(tables)

        def deals() -> Iterator[tuple[float, list[int]]]:
            for seed in self._seeds():
                picked = [int.from_bytes(digest(seed, name)[:8]) % len(orders) for name in names]
                counts = table[np.arange(len(names)), picked].sum(0)
                yield _unevenness(counts), picked

        splits = np.full(len(windows.labels), NONE, "<U5")
        picked = min(deals(), key=lambda deal: deal[0])[1]
        for chosen, choice, order in zip(members, choices, picked, strict=True):
            splits[chosen] = choice[order]
        return splits

    def _blocks(self, starts: np.ndarray, window_s: float, order: tuple[str, ...]) -> np.ndarray:
        """Splits of one recording's windows; those not wholly in a block get none."""
        guard_s = self._guard_s(window_s)
        begin, end = starts.min(), starts.max() + window_s
        usable_s = end - begin - guard_s * (len(order) - 1)
        splits = np.full(len(starts), NONE, "<U5")
        for split in order:
            stop = begin + max(usable_s, 0.0) * self.sizes[split]
            inside = (starts >= begin - _SLACK_S) & (starts + window_s <= stop + _SLACK_S)
            splits[inside] = split
            begin = stop + guard_s
        return splits

    def _random_windows(self, windows: WindowIndex) -> np.ndarray:
        _check_starts(windows, self.rule)
        keys = np.empty(len(windows.labels), object)
        for name, chosen in windows.by_recording():
            keys[chosen] = [f"{name}:{i}" for i in range(len(chosen))]
        strata = np.unique(windows.labels) if self.stratify else [None]
        splits = np.full(len(keys), NONE, "<U5")
        for label in strata:
            chosen = np.arange(len(keys)) if label is None else np.flatnonzero(windows.labels == label)
            dealt = split_subjects(keys[chosen], self.sizes, self.seed, "windows")
            split_of = {key: split for split, members in dealt.items() for key in members}
            splits[chosen] = [split_of.get(key, NONE) for key in keys[chosen]]
        return splits


def _unevenness(counts: np.ndarray) -> float:
    """Largest difference of a class's share in a split from its overall share.

    Args:
        counts: (splits, classes) windows.
    """
    totals = counts.sum(1, keepdims=True)
    if not totals.all():
        return float("inf")
    # Rounded, so that the last bit never chooses between deals.
    return round(float(np.abs(counts / totals - counts.sum(0) / counts.sum()).max()), 9)


def _check_starts(windows: WindowIndex, rule: str) -> None:
    unknown = np.flatnonzero(~np.isfinite(windows.start_s))
    if unknown.size:
        raise InputError(
            f"Split rule {rule!r} needs the start time of every window, but those of recording "
            f"{windows.recordings[unknown[0]]} have none. Split by subject or recording."
        )
