"""Windows of different splits that share time: what is tested was nearly seen in training."""

import itertools
import logging

import numpy as np

from jaxbridge.data.splits.rules import NONE, WindowIndex
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")
_SLACK_S = 1e-6
_SEEN = ("train", "pair")


def overlapping(windows: WindowIndex, splits: np.ndarray, split: str, others: tuple) -> np.ndarray:
    """Ascending indices of windows of `split` that share time with a window of `others`.

    Two windows share time where they are of one recording and start less than `window_s` apart.
    Windows of unknown start share none.

    Args:
        windows: all windows.
        splits: (windows,) split names.
        split: of the windows asked for.
        others: splits to compare with.
    """
    found = [np.empty(0, np.int64)]
    for _, chosen in windows.by_recording():
        mine = chosen[splits[chosen] == split]
        theirs = np.sort(windows.start_s[chosen[np.isin(splits[chosen], others)]])
        if mine.size and theirs.size:
            start = windows.start_s[mine]
            after = np.searchsorted(theirs, start)
            gap = np.fmin(
                np.abs(start - theirs[np.maximum(after - 1, 0)]),
                np.abs(start - theirs[np.minimum(after, theirs.size - 1)]),
            )
            found.append(mine[gap < windows.window_s - _SLACK_S])
    return np.sort(np.concatenate(found))


def check_leakage(windows: WindowIndex, splits: np.ndarray, *, allowed: bool) -> dict[str, float]:
    """Share of the test and of the validation windows that overlap train or pair windows.

    Args:
        windows, splits: see `overlapping`.
        allowed: report overlap, rather than refuse it.

    Returns:
        'test' and 'val', as far as there are such windows -> share, 0 to 1.

    Raises:
        InputError: windows of two splits overlap, and this is not allowed.
    """
    present = [name for name in np.unique(splits).tolist() if name != NONE]
    if not allowed:
        for one, other in itertools.combinations(present, 2):
            shared = overlapping(windows, splits, one, (other,))
            if shared.size:
                first = shared[0]
                start = windows.start_s[first]
                raise InputError(
                    f"{windows.recordings[first]}: the {one} window from {start:g} to "
                    f"{start + windows.window_s:g} s overlaps a {other} window (so do "
                    f"{shared.size - 1} more): what is tested would have been seen before. Split by "
                    "subject, recording or time block; rule 'paper' accepts it by name."
                )
    shares = {}
    for name in ("test", "val"):
        if name in present:
            others = tuple(split for split in _SEEN if split != name)
            count = np.count_nonzero(splits == name)
            shares[name] = overlapping(windows, splits, name, others).size / count
    if allowed:
        _log.warning(
            "random windows: %s overlap a train or pair window in time; figures on them say "
            "little about new recordings",
            ", ".join(f"{100 * share:.1f} % of the {name} windows" for name, share in shares.items()),
        )
    return shares
