"""The results table of one run, or of several seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SCORES = ("accuracy", "balanced_accuracy", "kappa", "f1_macro", "f1_weighted")


def summarise(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Returns one row per method and split with mean and standard deviation over runs.

    Args:
        runs: rows of each seed's `metrics.json`, in the same order.

    Returns:
        Rows with method, modality, split, trainable_parameters (mean), seeds, and each score's
        mean under its own name and standard deviation (ddof 0) under `<score>_std`.
    """
    out = []
    for rows in zip(*runs, strict=True):
        row = {key: rows[0][key] for key in ("method", "modality", "split")}
        row["trainable_parameters"] = round(np.mean([r["trainable_parameters"] for r in rows]))
        row["seeds"] = len(rows)
        for score in SCORES:
            values = [r[score] for r in rows]
            row[score], row[f"{score}_std"] = float(np.mean(values)), float(np.std(values))
        out.append(row)
    return out


def text(rows: Sequence[Mapping[str, Any]], split: str = "test") -> str:
    """Returns the rows of one split as an aligned table for a terminal."""
    header = ("", "reads", "trained", "balanced accuracy", "F1 macro", "kappa")
    lines = [header]
    for row in rows:
        if row["split"] == split:
            lines.append((
                row["method"], row["modality"], f"{row['trainable_parameters']:,}",
                _score(row, "balanced_accuracy"), _score(row, "f1_macro"), _score(row, "kappa"),
            ))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _score(row: Mapping[str, Any], name: str) -> str:
    spread = row.get(f"{name}_std", 0.0)
    return f"{row[name]:.3f}" + (f" ± {spread:.3f}" if row.get("seeds", 1) > 1 else "")
