"""The scan in words: the choice, its margin, ties, and what to do when it is weak."""

from collections.abc import Iterable

import numpy as np

from jaxbridge.selection.bootstrap import Stability
from jaxbridge.selection.scanner import Scan

# With fewer people a bootstrap's intervals are clearly too narrow.
FEW_SUBJECTS = 10


def conclusion(scan: Scan) -> str:
    """Returns the lines that a scan ends with."""
    chosen = scan.selection
    m, l = chosen.m, chosen.l  # noqa: E741
    lines = [
        f"Choice: output of new layer {m} into the input of old layer {l} "
        f"(--position={m},{l}); {scan.chosen[m, l]:.0%} of the draws agree.",
        f"  new layer {m}: {chosen.criterion} {_value(scan.probe, (m,))}, chance {scan.chance:.2f}"
        + _margin(scan.probe, m, chosen.criterion == "log_loss", "new layer"),
        f"  old layer {l}: CKA {_value(scan.cka, (m, l))}, debiased {chosen.cka_debiased[m, l]:.2f}"
        + _margin(scan.row, l, False, "old layer"),
    ]
    return "\n".join(lines + [f"  {line}" for line in advice(scan)])


def advice(scan: Scan) -> list[str]:
    """Returns what makes the choice weak and what to do about it; nothing where it is not."""
    chosen = scan.selection
    m, l = chosen.m, chosen.l  # noqa: E741
    lines = []
    lowest = chosen.criterion == "log_loss"
    if scan.probe.high[m] >= scan.chance if lowest else scan.probe.low[m] <= scan.chance:
        lines.append(
            "Weak: no new layer predicts the old model's labels above chance. A bridge will hardly "
            "work; check the teacher and the new encoder's weights before training one."
        )
    layers = np.flatnonzero(scan.probe.tied)
    if len(layers) > 1:
        lines.append(
            f"Tie: new layers {ranges(layers)} cannot be told apart at 95 %. Add subjects, or train "
            f"bridges at more than one, e.g. {_positions((i, l) for i in layers if i != m)}."
        )
    layers = np.flatnonzero(scan.row.tied)
    if len(layers) > 1:
        lines.append(
            f"Tie: old layers {ranges(layers)} are equally similar to new layer {m} at 95 %, e.g. "
            f"{_positions((m, i) for i in layers if i != l)}."
        )
    best = np.unravel_index(np.argmax(scan.joint.value), scan.joint.value.shape)
    # Where ridge explains nothing anywhere, its best position is noise.
    if not scan.joint.tied[m, l] and scan.joint.value[best] > 0:
        lines.append(
            f"The joint map is best at another position, {best[0]},{best[1]} "
            f"({_value(scan.joint, best)} explained, here {_value(scan.joint, (m, l))}); a second "
            "candidate, no better founded than this one."
        )
    if scan.subjects is None:
        lines.append(
            "Intervals come from blocks of windows, not from subjects: they do not tell what other "
            "people would change, and are too narrow where one person gave several blocks."
        )
    elif scan.subjects < FEW_SUBJECTS:
        lines.append(
            f"Only {scan.subjects} subjects: take the intervals as a hint; with few people they are "
            "too narrow."
        )
    return lines


def _value(table: Stability, at: tuple[int, ...]) -> str:
    value, low, high = (round(x[at], 2) + 0.0 for x in (table.value, table.low, table.high))  # no -0.00
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _margin(table: Stability, best: int, lowest: bool, what: str) -> str:
    if len(table.value) == 1:
        return ""
    score = -table.value if lowest else table.value.copy()
    score[best] = -np.inf
    second = int(np.argmax(score))
    margin = (table.value[best] - table.value[second]) * (-1 if lowest else 1)
    # The choice goes by the mean over folds, this by all held-out windows: they may disagree.
    side = "ahead of" if margin >= 0 else "behind"
    return (
        f"; {abs(margin):.3f} {side} {what} {second}, best in {table.best[best]:.0%} of the draws"
    )


def _positions(positions: Iterable[tuple[int, int]], most: int = 3) -> str:
    return " or ".join(f"--position={at[0]},{at[1]}" for at in list(positions)[:most])


def ranges(layers: Iterable[int]) -> str:
    """Writes 0, 2, 3, 4 as '0, 2-4'."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(
        str(a) if a == b else f"{a}-{b}" if b > a + 1 else f"{a}, {b}" for a, b in runs
    )
