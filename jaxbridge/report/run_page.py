"""The page of a single run: report.html in its folder, from the files there and nothing else."""

import pathlib

from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import Page, Tile
from jaxbridge.report.page.document import write_page
from jaxbridge.report.run.contents import RunContents, read_run
from jaxbridge.report.run.cost_sections import cost, provenance
from jaxbridge.report.run.data_sections import examples, transferred
from jaxbridge.report.run.result_sections import calibrated, confusion, results
from jaxbridge.report.run.training_sections import scan, training

_PARTS = (
    transferred, results, scan, training, confusion, examples, calibrated, cost, provenance,
)


def write(run: str | pathlib.Path) -> pathlib.Path:
    """Writes the page; what the run has not made (a scan where the position was given) is left out.

    Args:
        run: run folder of `jaxbridge.transfer`.

    Returns:
        The page's path.

    Raises:
        InputError: no run folder.
    """
    found = read_run(pathlib.Path(run))
    page = Page(
        title=f"{found.signal('old')} to {found.signal('new')}: a bridge from "
        f"{found.encoder('new')} into {found.encoder('old')}",
        subtitle=_subtitle(found), tiles=_tiles(found),
        sections=[section for part in _PARTS if (section := part(found)) is not None],
    )
    return write_page(found.path / "report.html", page)


def _subtitle(run: RunContents) -> str:
    dataset = (run.about or {}).get("dataset")
    classes = ", ".join(run.classes)
    seed = f"seed {run.settings['seed']}"
    return " · ".join(filter(None, (dataset, f"classes: {classes}", seed)))


def _tiles(run: RunContents) -> list[Tile]:
    tiles = []
    for method, label in (("bridge", "Bridge"), ("teacher", "Teacher")):
        if (row := run.of(method)) is not None:
            found = run.intervals(method).get("balanced_accuracy")
            note = "test windows"
            if found is not None:
                note = f"95 % interval {found.low:.3f} to {found.high:.3f}"
            tiles.append(Tile(
                f"{label}: balanced accuracy", words.score(row["balanced_accuracy"]), note
            ))
    if (row := run.of("bridge")) is not None:
        tiles.append(Tile("Trained in the bridge", words.count(row["trainable_parameters"]),
                          "parameters"))
    if run.stages:
        total = sum(done["seconds"] for done in run.stages.values())
        devices = run.record["versions"]["devices"]
        least = "at least " if any(done.get("resumed") for done in run.stages.values()) else ""
        tiles.append(Tile("Time of all stages", f"{least}{words.seconds(total)}", devices))
    return tiles
