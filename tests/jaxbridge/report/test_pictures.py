"""The pictures beside a run's page: what their axes say, in greyscale, and whatever names there are."""

import io
import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxbridge.report import figures, pictures
from jaxbridge.report.page.drawing import svg
from jaxbridge.report.run.figures import curves_figure, loss_label, window_figure
from jaxbridge.selection.two_stage import Selection
from jaxbridge.training.fitting import Epoch
from tests.jaxbridge.report.toy_run import write_run

_FORMULA = r"$\frac & A1$"


@pytest.mark.parametrize(("bridge", "label"), [
    ({"loss": "cosine", "logit_weight": 0.0}, "alignment loss (1 - cosine)"),
    ({"loss": "mse", "logit_weight": 0.0}, "alignment loss (MSE)"),
    ({"loss": "info_nce", "logit_weight": 0.5}, "alignment loss (InfoNCE + 0.5 x logits)"),
])
def test_the_curve_is_of_the_loss_that_was_trained(tmp_path, monkeypatch, bridge, label):
    assert loss_label(bridge) == label
    write_run(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["settings"]["bridge"] |= bridge
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    drawn = []
    monkeypatch.setattr(
        pictures, "curves_figure", lambda found, loss: drawn.append(loss) or curves_figure(found, loss)
    )
    paths = pictures.draw(tmp_path / "run")
    assert drawn == [label] and tmp_path / "run" / "training_curve.png" in paths


def test_the_bridge_and_its_control_are_told_apart_in_grey():
    curve = [Epoch(i + 1, 1 / (i + 1), 1.5 / (i + 1)) for i in range(4)]
    lines = curves_figure({"bridge": curve, "shuffled": curve}, "loss").axes[0].lines
    looks = {(line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(lines) == len(looks) == 4


def test_the_chosen_cell_is_seen_on_any_grey():
    rng = np.random.default_rng(0)
    found = Selection(1, 2, "macro_f1", rng.random((2, 5)), rng.random((2, 3)), rng.random((2, 3)))
    frame, = figures.layer_scan(found, 2).axes[1].patches
    around = frame.get_path_effects()[0]
    assert to_rgb(frame.get_edgecolor()) == (0, 0, 0) and around._gc["foreground"] == "white"


def test_names_are_no_formulas():
    row = {"method": "bridge", "balanced_accuracy": 0.5, "confusion": [[1, 1], [1, 1]]}
    figure = figures.confusion([row], [_FORMULA, "Schläfrig"])
    figure.savefig(io.BytesIO(), format="png")
    window = window_figure([("EEG", np.zeros((1, 100)), 100.0, "uV", (_FORMULA,))])
    assert r"$\frac &amp; A1$" in svg(window, "x", "a window")
