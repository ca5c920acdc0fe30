"""The pictures of a finished run, drawn from the files in its folder."""

import pathlib

from jaxbridge.report import figures
from jaxbridge.report.page.drawing import PAPER
from jaxbridge.report.run.figures import curves_figure, loss_label
from jaxbridge.run_folder import read_curve, read_json
from jaxbridge.selection.two_stage import Selection


def draw(run: pathlib.Path) -> list[pathlib.Path]:
    """Writes confusion.png, layer_scan.png where there was a scan, and training_curve.png.

    A bridge in closed form has no training curve.

    Args:
        run: folder of a finished run.

    Returns:
        The pictures' paths.
    """
    settings = read_json(run / "run.json")["settings"]
    classes = settings["class_names"]
    drawn = {}
    if (run / "scan").exists():
        selection = Selection.from_dict(read_json(run / "scan" / "selection.json"))
        drawn["layer_scan"] = figures.layer_scan(selection, len(classes))
    curves = {
        "bridge": read_curve(run / "bridge" / "curve.csv"),
        "bridge, shuffled pairs": read_curve(run / "controls" / "shuffled_curve.csv"),
    }
    if any(curves.values()):
        drawn["training_curve"] = curves_figure(curves, loss_label(settings["bridge"]))
    rows = read_json(run / "report" / "metrics.json")
    drawn["confusion"] = figures.confusion(
        [row for row in rows if row["split"] == "test" and row["method"] != "chance"], classes
    )
    paths = []
    for name, figure in drawn.items():
        paths.append(run / f"{name}.png")
        figure.savefig(paths[-1], dpi=150, facecolor=PAPER)
    return paths
