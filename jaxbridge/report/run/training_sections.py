"""The page's parts on where the bridge goes and how it was trained."""

import io

import numpy as np

from jaxbridge.report import figures
from jaxbridge.report.page.blocks import Picture, Section, Shaded, Side, Table, Text
from jaxbridge.report.page.drawing import png, svg
from jaxbridge.report.run.contents import RunContents
from jaxbridge.report.run.figures import curves_figure, loss_label

_CRITERIA = {"macro_f1": "macro F1"}


def scan(run: RunContents) -> Section | None:
    if run.selection is None:
        return None
    chosen, count = run.selection, len(run.classes)
    m, l = chosen.m, chosen.l  # noqa: E741
    buffer = io.BytesIO()
    figures.layer_scan(chosen, count).savefig(buffer, format="png", dpi=150)
    mean, std = chosen.probe_scores.mean(axis=1), chosen.probe_scores.std(axis=1)
    alt = (
        f"Left: score of a linear probe on every new layer; layer {m} is chosen with {mean[m]:.2f}. "
        f"Right: similarity of every new layer to every old layer; old layer {l} is chosen with "
        f"{chosen.cka[m, l]:.2f}. The tables below hold the numbers."
    )
    criterion = _CRITERIA.get(chosen.criterion, chosen.criterion.replace("_", " "))
    rows = [
        [f"{i}{', chosen' if i == m else ''}", f"{mean[i]:.3f} ± {std[i]:.3f}",
         *(Shaded(f"{value:.2f}{', chosen' if (i, j) == (m, l) else ''}", float(np.clip(value, 0, 1)))
           for j, value in enumerate(chosen.cka[i]))]
        for i in range(len(mean))
    ]
    return Section("scan", "Where the bridge goes", [
        Text(
            f"Output of new layer {m} into the input of old layer {l}. First the new layer whose "
            f"output best predicts the teacher's labels ({criterion}), then the old layer whose input "
            "is most similar to it (linear CKA)."
        ),
        Picture(png(buffer.getvalue(), alt), "Probe scores of new layers, and similarity of all pairs "
                "of layers. The frame and the square mark the choice.", card=True, wide=True),
        Table(
            "The same in numbers", ["new layer", f"{criterion}, mean ± sd of folds",
                                    *(f"old {j}" for j in range(chosen.cka.shape[1]))], rows,
            corner="columns: linear CKA with the input of each old layer",
        ),
    ])


def training(run: RunContents) -> Section | None:
    pictures = []
    last = run.settings["bridge"]["location"] == "last_layer"
    at = "the old encoder's last layer" if last else "the bridge's output"
    for stage, loss, title in (
        ("teacher", "cross-entropy", "Teacher: head" + (
            " and old encoder" if run.settings["head"]["unfrozen"] else "") + " on old labels"),
        (
            "bridge", loss_label(run.settings["bridge"]),
            f"Bridge, and the control on shuffled pairs, compared at {at}",
        ),
    ):
        curves = run.curves[stage]
        if not curves:
            continue
        ends = "; ".join(
            f"{name}: {len(curve)} epochs, validation loss {curve[0].val_loss:.3g} at first, "
            f"{curve[-1].val_loss:.3g} at last" for name, curve in curves.items()
        )
        pictures.append(Picture(
            svg(curves_figure(curves, loss), f"curve-{stage}", f"Loss over epochs. {ends}."),
            f"{title}. {ends}.",
        ))
    return Section("training", "Training", [Side(pictures)]) if pictures else None
