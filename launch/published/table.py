"""A reproduced direction beside what the paper reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.published.directions import Direction, Scores

SCORES = {
    "balanced_accuracy": "balanced accuracy", "f1_macro": "F1 macro", "f1_weighted": "F1 weighted",
}
_TEACHER, _BRIDGE = "teacher", "bridge"


def beside_published(
    direction: Direction, rows: Sequence[Mapping[str, Any]], split: str = "test"
) -> list[dict[str, Any]]:
    """Returns one row per method and score: ours, the paper's, and their difference, in percent.

    Args:
        direction: with the paper's results, if it has any.
        rows: from `table.summarise`, or rows of one pooled result.
        split: which rows.

    Returns:
        Rows with method, score, ours, ours_std, low, high, paper and difference (None where unknown),
        parameters and paper_parameters.
    """
    published = direction.published
    paper: dict[str, Scores | None] = {}
    if published is not None:
        paper = {_BRIDGE: published.bridge, _TEACHER: published.teacher}
    found = []
    for row in rows:
        if row["split"] != split:
            continue
        theirs = paper.get(row["method"])
        for score in SCORES:
            reported = getattr(theirs, score, None)
            ours = 100 * row[score]
            found.append({
                "method": row["method"], "score": score, "ours": ours,
                "ours_std": _percent(row.get(f"{score}_std")),
                "low": _percent(row.get(f"{score}_low")), "high": _percent(row.get(f"{score}_high")),
                "paper": reported,
                "difference": None if reported is None else ours - reported,
                "parameters": row["trainable_parameters"],
                "paper_parameters": getattr(theirs, "parameters", None),
            })
    if published is not None:
        baseline = published.baseline
        found += [
            {
                "method": f"best baseline ({baseline.method})", "score": score, "ours": None,
                "ours_std": None, "low": None, "high": None, "paper": getattr(baseline, score),
                "difference": None, "parameters": None, "paper_parameters": baseline.parameters,
            }
            for score in SCORES
        ]
    return found


def text(rows: Sequence[Mapping[str, Any]], runs: int) -> str:
    """Returns the rows as an aligned table for a terminal.

    Args:
        rows: from `beside_published`.
        runs: how many runs the means are of.
    """
    lines = [("", "", "ours", "paper", "difference", "trained: ours", "paper")]
    before = None
    for row in rows:
        first = row["method"] != before
        before = row["method"]
        lines.append((
            before if first else "", SCORES[row["score"]], _ours(row, runs),
            _number(row["paper"], ".2f"), _number(row["difference"], "+.2f"),
            _number(row["parameters"], ",") if first else "",
            (row["paper_parameters"] or "") if first else "",
        ))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _ours(row: Mapping[str, Any], runs: int) -> str:
    if row["ours"] is None:
        return "not run"
    if row["low"] is not None:
        return f"{row['ours']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['ours']:.2f}" + (f" ± {row['ours_std']:.2f}" if runs > 1 else "")
