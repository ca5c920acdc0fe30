"""Rows of figures as aligned text, JSON and CSV."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

# (field, title, format, width); texts stand to the left, figures to the right.
Column = tuple[str, str, str, int]


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


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one benchmark.

    Attributes:
        name: of its files.
        row: dataclass of a row.
        columns: what is shown of it.
    """

    name: str
    row: type
    columns: Sequence[Column]

    def header(self) -> str:
        """The first line."""
        return " ".join(_cell(title, form, width) for _, title, form, width in self.columns)

    def line(self, row: Any) -> str:
        """One row as text."""
        return line(self.columns, row)

    def rows(self, report: Mapping[str, Any]) -> list[Any]:
        """The rows of a report, read back."""
        return [self.row(**found) for found in report["rows"]]

    def text(self, report: Mapping[str, Any]) -> str:
        """The whole table, and the machine below it."""
        rows = map(self.line, self.rows(report))
        return "\n".join([self.header(), *rows, "", report["machine"]])

    def write(self, report: Mapping[str, Any], out: pathlib.Path) -> None:
        """Writes name.json (everything) and name.csv (the rows) into folder `out`."""
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{self.name}.json").write_text(json.dumps(report, indent=1) + "\n")
        with (out / f"{self.name}.csv").open("w", newline="") as file:
            rows = csv.DictWriter(file, [field.name for field in dataclasses.fields(self.row)])
            rows.writeheader()
            rows.writerows(report["rows"])


def _cell(text: str, form: str, width: int) -> str:
    return text.ljust(width) if form == "{:<}" else text.rjust(width)
