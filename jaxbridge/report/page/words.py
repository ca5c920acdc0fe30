"""Numbers and mappings as text."""

import math
from collections.abc import Mapping
from typing import Any

from jaxbridge.report.scan_text import FEW_SUBJECTS


def score(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Returns 0.876 (0.851 to 0.902), or the value alone."""
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def few(subjects: int) -> str:
    """Returns what to think of intervals over so few people; empty where they are enough."""
    if subjects >= FEW_SUBJECTS:
        return ""
    return (
        f"Only {subjects} test subjects: take the intervals as a hint; with few people they are too "
        "narrow."
    )


def seconds(value: float) -> str:
    """Returns a duration in the unit that suits it."""
    if not math.isfinite(value):
        return "–"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def scaled(value: float, unit: str) -> str:
    """Returns 12.3 MB, 4.56 GFLOP: three digits and a decimal prefix; 0 of anything is "0"."""
    if not math.isfinite(value):
        return "–"
    prefixes = ("", "k", "M", "G", "T", "P")
    power = 0 if value < 1 else min(int(math.log10(value) / 3 + 1e-9), len(prefixes) - 1)
    return f"{value / 1000**power:.3g} {prefixes[power]}{unit}" if value else "0"


def count(value: float | None) -> str:
    """Returns 1,234,567."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(value):,}"


def probability(value: float) -> str:
    """Returns a p value; "< 0.001" below that."""
    if not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns (dotted name, text) of every leaf, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and not any(isinstance(v, Mapping) for v in value):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, "none" if value is None or value == {} else str(value)))
    return rows
