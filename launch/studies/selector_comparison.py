"""How well scores of positions foretell what bridges reach there."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

OTHER_BRIDGE = "another bridge at each position"


def compare(
    truth: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row per selector: means over seeds, positions before the head only.

    Beside the selectors stand the yardsticks: any position, which a selector must beat; what one
    bridge per position reaches as a score for another one, which no selector can beat by much; and
    training all positions.

    Args:
        truth: rows with seed, bridge, m, l (the largest l being the head), balanced_accuracy,
            agreement, test_loss, val_loss, val_agreement.
        scores: rows with selector, seed, m, l, score (the higher the better) and seconds.

    Returns:
        Spearman correlation of the scores with mean balanced accuracy on test people, agreement with
        the teacher, and (negative) loss; regret, the distance of the choice from the best position
        in balanced accuracy, with its standard error over seeds; seconds.
    """
    depth = max(row["l"] for row in truth)
    seeds, bridges = (sorted({row[k] for row in truth}) for k in ("seed", "bridge"))

    def goals(seed, some_bridges):
        """What bridges reach, the higher the better, (new layers, old layers) each."""
        some = [r for r in truth if r["seed"] == seed and r["bridge"] in some_bridges]
        return [_table(some, name, depth) for name in ("balanced_accuracy", "agreement")] + [
            -_table(some, "test_loss", depth)
        ]

    columns: dict[str, list[list[float]]] = {}
    for seed in seeds:
        of_seed = [row for row in truth if row["seed"] == seed]
        reached = goals(seed, bridges)
        found = {"any position": np.zeros_like(reached[0])}
        for name in dict.fromkeys(row["selector"] for row in scores):
            some = [r for r in scores if (r["selector"], r["seed"]) == (name, seed)]
            found[name] = _table(some, "score", depth)
        found["all trained: validation loss"] = -_table(of_seed, "val_loss", depth)
        found["all trained: validation agreement"] = _table(of_seed, "val_agreement", depth)
        for name, score in found.items():
            rank = [_spearman(score, goal) for goal in reached]
            columns.setdefault(name, []).append([*rank, _regret(score, reached[0])])
        for one, other in itertools.permutations(bridges, 2):
            own, others = goals(seed, [one]), goals(seed, [other])
            rank = [_spearman(score, goal) for score, goal in zip(others, own, strict=True)]
            columns.setdefault(OTHER_BRIDGE, []).append([*rank, _regret(others[0], own[0])])
    seconds = {name: [r["seconds"] for r in scores if r["selector"] == name] for name in columns}
    return [
        {
            "selector": name, "seeds": len(seeds),
            **dict(zip(
                ("spearman_balanced_accuracy", "spearman_agreement", "spearman_test_loss",
                 "regret_balanced_accuracy"),
                (float(v) for v in np.mean(values, axis=0)), strict=True,
            )),
            "regret_standard_error": float(
                np.std([v[3] for v in values], ddof=1) / np.sqrt(len(values))
            ) if len(values) > 1 else np.nan,
            "seconds": float(np.mean(seconds[name])) if seconds[name] else np.nan,
        }
        for name, values in columns.items()
    ]  # fmt: skip


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a.ravel(), b.ravel()).statistic) if np.ptp(a) and np.ptp(b) else 0.0


def _regret(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Ties of the score count by their mean."""
    return float(accuracy.max() - accuracy[score == score.max()].mean())


def _table(rows: Sequence[Mapping[str, Any]], name: str, depth: float) -> np.ndarray:
    """(new layers, old layers), without the head, mean over bridges."""
    shape = int(max(row["m"] for row in rows)) + 1, int(depth)
    total, count = np.zeros(shape), np.zeros(shape)
    for row in rows:
        if row["l"] < depth:
            at = int(row["m"]), int(row["l"])
            total[at] += row[name]
            count[at] += 1
    return total / count


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table for a terminal."""
    lines = [f"{'selector':40}  rho BAcc  rho agr.  rho loss     regret BAcc   seconds"]
    for row in rows:
        lines.append(
            f"{row['selector']:40} {row['spearman_balanced_accuracy']:9.2f} "
            f"{row['spearman_agreement']:9.2f} {row['spearman_test_loss']:9.2f}   "
            f"{row['regret_balanced_accuracy']:.3f} ± {row['regret_standard_error']:.3f} "
            f"{row['seconds']:9.1f}"
        )
    return "\n".join([*lines, f"means over {rows[0]['seeds']} seeds"])
