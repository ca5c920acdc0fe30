"""The page of a study: figures, tables.md and report.html, from results.csv and study.json beside them.

results.csv is the tidy table of `jaxbridge.statistics.tidy`: `run_rows` of every method, seed and
fold, `summary_rows` of every method and, where wanted, `jaxbridge.statistics.curves.curve_rows`. Each
(study, dataset) in it becomes a part of the page; methods keep the table's order.

study.json:

    title       heading
    command     what was typed
    settings    mapping of anything; nested ones are shown flat
    versions    see `jaxbridge.run_folder.versions`
    baselines   names of methods: the best of them is what others are compared with; may be empty
    controls    names of methods: bounds and controls, shown but not compared
    notes       list of sentences for the top of the page; optional
    axis        optional, for a study of something that is varied (share of pairs, misalignment):
                {"label": "pair windows used (%)", "log": true,
                 "points": {method: {"series": "bridge", "x": 20}, ...}}
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbridge.report.page import markdown, words
from jaxbridge.report.page.blocks import Code, Page, Section, Table, Text
from jaxbridge.report.page.document import write_page
from jaxbridge.report.study.sections import PartSections
from jaxbridge.report.study.table import Part, read_parts
from jaxbridge.run_folder import write_rows
from model_ports.errors import InputError


def write(folder: str | pathlib.Path) -> pathlib.Path:
    """Writes figures/ (PNG), comparisons.csv, tables.md and report.html.

    Args:
        folder: of the study, see above.

    Returns:
        The page's path.

    Raises:
        InputError: results.csv or study.json is missing or damaged.
    """
    folder = pathlib.Path(folder)
    study, parts = _study(folder / "study.json"), read_parts(folder / "results.csv")
    (folder / "figures").mkdir(exist_ok=True)
    sections, compared, tiles = [], [], []
    for part in parts:
        one = PartSections(part, study, folder / "figures", _heading(part, parts))
        sections += one.sections()
        tiles += one.tiles()
        compared += [
            {"study": part.study, "dataset": part.dataset, **found.as_dict()}
            for found in one.comparisons
        ]
    (folder / "comparisons.csv").unlink(missing_ok=True)  # of other methods, in the same folder before
    if compared:
        write_rows(folder / "comparisons.csv", compared)
    (folder / "tables.md").write_text(markdown.tables(sections) + "\n", encoding="utf-8")
    names = dict.fromkeys(part.dataset for part in parts)
    page = Page(
        title=study["title"], subtitle=" · ".join(names), tiles=tiles,
        sections=[*_notes(study), *sections, _provenance(study, bool(compared))],
    )
    return write_page(folder / "report.html", page)


def _study(path: pathlib.Path) -> dict[str, Any]:
    needed = ("title", "command", "settings", "versions", "baselines", "controls")
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); run the study first.") from None
    except ValueError:
        raise InputError(f"{path} is damaged; run the study again.") from None
    if missing := [key for key in needed if key not in study]:
        raise InputError(f"{path} lacks {', '.join(missing)}; run the study again.")
    return study


def _heading(part: Part, parts: Sequence[Part]) -> str:
    several = [len({getattr(p, name) for p in parts}) > 1 for name in ("study", "dataset")]
    names = [name for name, told in zip((part.study, part.dataset), several, strict=True) if told]
    return " on ".join(names)


def _notes(study: Mapping[str, Any]) -> list[Section]:
    notes = study.get("notes", [])
    return [Section("notes", "Notes", [Text(note) for note in notes])] if notes else []


def _provenance(study: Mapping[str, Any], compared: bool) -> Section:
    return Section("provenance", "Settings and provenance", [
        Code("Command", study["command"]),
        Table("Settings", ["name", "value"],
              [list(row) for row in words.flat(study["settings"])], words=(1,)),
        Table("Versions", ["package", "version"],
              [list(row) for row in words.flat(study["versions"])], words=(1,)),
        Text(
            "All numbers are in results.csv, a row per number, with counts of every subject; "
            + ("comparisons are in comparisons.csv, " if compared else "") + "the figures in figures."
        ),
    ])
