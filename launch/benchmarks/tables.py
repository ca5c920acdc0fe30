"""Rows of figures as aligned text, JSON and CSV."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

# (field, title, format, width); texts stand to the left, figures to the right.
Column = tuple[str, str, str, int]


def header(columns: Sequence[Column]) -> str:
    """The table's first line."""
    return " ".join(_cell(title, form, width) for _, title, form, width in columns)


def line(columns: Sequence[Column], row: Any) -> str:
    """One row, a dataclass with the columns' fields and a `note`; None is a dash."""
    cells = []
    for key, _, form, width in columns:
        value = getattr(row, key)
        cells.append(_cell("-" if value is None else form.format(value), form, width))
    return " ".join(cells) + (f"  ({row.note})" if row.note else "")


def markdown(columns: Sequence[Column], rows: Sequence[Any]) -> str:
    """All rows as a Markdown table, their notes below it."""
    lines = [
        "| " + " | ".join(title for _, title, _, _ in columns) + " |",
        "|" + "|".join("---" if form == "{:<}" else "--:" for _, _, form, _ in columns) + "|",
    ]
    notes = []
    for row in rows:
        cells = [getattr(row, key) for key, _, _, _ in columns]
        texts = [
            "-" if value is None else form.format(value)
            for value, (_, _, form, _) in zip(cells, columns, strict=True)
        ]
        if row.note:
            notes.append(row.note)
            texts[0] += "*" * len(notes)
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", *(f"{'*' * i} {note}" for i, note in enumerate(notes, 1))]).strip()


def write(report: Mapping[str, Any], row_type: type, out: pathlib.Path, name: str) -> None:
    """Writes name.json (everything) and name.csv (`report["rows"]`) into folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    with (out / f"{name}.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in dataclasses.fields(row_type)])
        rows.writeheader()
        rows.writerows(report["rows"])


def _cell(text: str, form: str, width: int) -> str:
    return text.ljust(width) if form == "{:<}" else text.rjust(width)
