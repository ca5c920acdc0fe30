"""Text tables: CSV, TSV, and columns apart by blanks; comment lines start with '#'."""

import csv
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from jaxbridge.data.recordings.contents import Contents, Lead, Start
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

_NOT_UTF8 = "{} is no text in UTF-8 ({}). Save it so, as spreadsheets offer, if it is a table."
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
# "# Sampling Rate (Hz):= 1000.00" and "# Labels:= ECG" of BioSPPy's and OpenSignals' text files.
_COMMENT = re.compile(r"^#\s*([^:]+?)\s*:=\s*(.*?)\s*$")


def open_table(path: Path, options: FileOptions) -> Contents:
    """Opens a table: every column of numbers is a lead, empty cells are NaN.

    Rate and names are taken from comment lines where they are there ("# Sampling Rate (Hz):= 1000").
    The first line that is no comment is the header, if one of its cells is no number.

    Raises:
        InputError: no such file; no table; no rows; a time column that is missing, has gaps or does
            not rise.
    """
    table, comments = read_table(path, options)
    times, start = None, None
    if options.time_column is not None:
        times, start = _times(path, column(path, table, options.time_column), options.time_unit)
    leads, columns, texts = [], [], []
    rate = comments.get("sampling rate (hz)")
    for name in table.columns:
        if name == options.time_column:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (numbers.isna() & table[name].notna()).mean() > 0.5:
            texts.append(name)
            continue
        leads.append(Lead(name, _rate(path, rate), None, len(table)))
        columns.append(name)
    if not leads:
        raise InputError(
            f"{path} has no column of numbers. It has: {', '.join(table.columns)}. Decimals are "
            "written with a point."
        )

    def load(indices):
        return [_numbers(path, table, columns[i]) for i in indices]

    remarks = (f"columns of text: {', '.join(texts)}",) if texts else ()
    return Contents(path, tuple(leads), load, start, times_s=times, remarks=remarks)


def read_table(
    path: Path, options: FileOptions, as_text: Collection[str] = ()
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The whole table with text for column names, and its comment lines 'key := value'.

    Args:
        path: the file.
        options: `lead_names`.
        as_text: columns of names, in small or capital letters, which are left as they are written;
            perhaps not there.

    Raises:
        InputError: see `open_table`.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            comments, skipped, first = {}, 0, ""
            for line in file:
                if line.strip() and not line.startswith("#"):
                    first = line
                    break
                skipped += 1
                if match := _COMMENT.match(line):
                    comments[match[1].lower()] = match[2]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Check the path.") from None
    except UnicodeDecodeError as error:
        raise InputError(_NOT_UTF8.format(path, error)) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read as text: {error}. Check the file.") from error
    if not first:
        raise InputError(f"{path} holds no rows. Leave the file out.")
    separator = next((mark for mark in "\t;," if mark in first), r"\s+")
    cells = next(csv.reader([first], delimiter=separator)) if separator in "\t;," else first.split()
    header = not all(_is_number(cell) for cell in cells)
    named = {name.lower() for name in as_text}
    texts = [cell.strip("\r\n").lstrip() for cell in cells if cell.strip().lower() in named]
    shared = {
        "sep": separator, "comment": "#", "encoding": "utf-8-sig", "skipinitialspace": True,
    }
    try:
        table = pd.read_csv(
            path, skiprows=skipped, header=0 if header else None, low_memory=False,
            dtype=dict.fromkeys(texts, str), **shared,
        )
        width = table.shape[1]
        if header and len(table):
            row = pd.read_csv(path, skiprows=skipped + 1, header=None, nrows=1, **shared)
            width = row.shape[1]
    except UnicodeDecodeError as error:
        raise InputError(_NOT_UTF8.format(path, error)) from error
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no readable table: {reason}. Check the file.") from error
    if table.empty:
        raise InputError(f"{path} holds no rows. Leave the file out.")
    if header:
        table = _under_header(path, table, width)
    else:
        names = options.lead_names or _names(comments.get("labels"), table.shape[1])
        if len(names) != table.shape[1]:
            raise InputError(
                f"{path} has {table.shape[1]} columns, `lead_names` names {len(names)}. Name each."
            )
        table.columns = names
    table.columns = [str(name).strip() for name in table.columns]
    return table, comments


def _under_header(path: Path, table: pd.DataFrame, num_cells: int) -> pd.DataFrame:
    """Every column under its name.

    pandas takes the first cells of rows that are longer than the header for an index, which moves all
    others to the left; a separator at the end of each row is enough for that.

    Args:
        path: for messages.
        table: as read.
        num_cells: of a row.

    Raises:
        InputError: the cells without a name are not empty.
    """
    names = list(table.columns)
    surplus = num_cells - len(names)
    if surplus <= 0:
        return table
    if not table[names[-surplus:]].isna().all(axis=None):
        raise InputError(
            f"{path} has {len(names)} names in its header and {num_cells} cells in its rows. Correct "
            "the header."
        )
    moved = table.reset_index().iloc[:, : len(names)]
    moved.columns = names
    return moved


def _names(labels: str | None, count: int) -> list[str]:
    names = [name.strip() for name in (labels or "").split(",") if name.strip()]
    return names if len(names) == count else [f"column {i}" for i in range(count)]


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _rate(path: Path, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"{path}: its sampling rate {text!r} is no number. Correct the comment line."
        ) from None


def column(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """A column that must be there."""
    if name not in table.columns:
        raise InputError(f"{path} has no column {name!r}. It has: {', '.join(table.columns)}.")
    return table[name]


def _numbers(path: Path, table: pd.DataFrame, name: str) -> np.ndarray:
    numbers = pd.to_numeric(table[name], errors="coerce")
    bad = np.flatnonzero(numbers.isna() & table[name].notna())
    if bad.size:
        raise InputError(
            f"{path}: column {name!r} has {bad.size} cells that are no number, the first in row "
            f"{bad[0]} of the data: {table[name].iloc[bad[0]]!r}. Empty the cell to mark a gap."
        )
    return numbers.to_numpy(np.float64)


def _times(path: Path, cells: pd.Series, unit: str) -> tuple[np.ndarray, Start]:
    ahead_s = None
    if unit == "date":
        try:
            dates = pd.to_datetime(cells, utc=True, format="ISO8601")
        except (ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path}: the time column {cells.name!r} holds no dates of the form "
                f"2024-05-01T10:00:00 ({reason}). Correct it or time_unit."
            ) from error
        # The difference first: seconds since 1970 hold no more than a microsecond.
        first = dates.iloc[0]
        seconds = ((dates - first) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
        begin = (first - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
        clock, zone = "date", pd.Timestamp(cells.iloc[0]).tzinfo
        if zone is not None:  # 22:00+02:00 is 22:00 of local time, as other files state it
            ahead_s = pd.Timestamp(cells.iloc[0]).utcoffset().total_seconds()
            begin += ahead_s
    else:
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
        begin, clock = numbers[0] * TIME_UNITS[unit], "column"
        seconds = (numbers - numbers[0]) * TIME_UNITS[unit]
    bad = np.flatnonzero(~np.isfinite(seconds))
    if bad.size:
        raise InputError(
            f"{path}: the time column {cells.name!r} has no time in row {bad[0]} of the data"
            f"{'' if unit == 'date' else ' (or dates: time_unit: date)'}. Remove such rows."
        )
    back = np.flatnonzero(np.diff(seconds) <= 0)
    if back.size:
        raise InputError(
            f"{path}: the time column {cells.name!r} does not rise from row {back[0]} to "
            f"{back[0] + 1} of the data ({cells.iloc[back[0]]} to {cells.iloc[back[0] + 1]}). Sort the "
            "rows, remove repeated ones, or choose a finer time column."
        )
    return seconds, Start(float(begin), clock, ahead_s)
