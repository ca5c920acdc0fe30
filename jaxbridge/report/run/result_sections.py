"""The page's parts on what came out."""

import numpy as np

from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import Block, Picture, Section, Shaded, Side, Table, Text
from jaxbridge.report.page.calibration_figures import (
    Answered,
    Reliability,
    abstention_figure,
    reliability_figure,
)
from jaxbridge.report.page.drawing import svg
from jaxbridge.report.run.contents import RunContents
from jaxbridge.statistics.calibration import Calibration, abstention, calibration

_SCORES = {
    "balanced_accuracy": "balanced accuracy", "f1_macro": "F1 macro", "kappa": "Cohen's kappa",
    "f1_weighted": "F1 weighted",
}


def results(run: RunContents) -> Section | None:
    if not run.metrics:
        return None
    methods = list(dict.fromkeys(row["method"] for row in run.metrics))
    rows, intervals = [], False
    for method in methods:
        row, bounds = run.of(method), run.intervals(method)
        intervals |= bool(bounds)
        rows.append([
            method, row["modality"].upper() or "nothing", words.count(row["trainable_parameters"]),
            *(words.score(row[s], *bounds[s][1:]) if s in bounds else words.score(row[s])
              for s in _SCORES),
        ])
    caption = "Test windows" + (", with 95 % intervals over subjects" if intervals else "")
    blocks: list[Block] = [
        Table(caption, ["method", "reads", "trained parameters", *_SCORES.values()], rows, words=(1,)),
        Table(
            "Balanced accuracy in every split", ["method", "train", "validation", "test"],
            [[m, *(words.score(run.of(m, s)["balanced_accuracy"]) for s in ("train", "val", "test"))]
             for m in methods],
        ),
        Text(
            "Chance: always the most frequent class. Shuffled pairs: the same bridge trained on "
            "windows that do not belong together, which must fall to chance. Oracle: a head fitted to "
            "the new signal's own labels on the layer that the bridge reads."
        ),
    ]
    subjects = {name for found in run.predictions.values() for name in found.subjects}
    if intervals and (advice := words.few(len(subjects))):
        blocks.append(Text(advice))
    elif subjects and not intervals:
        whose = "of subjects who are not known" if "" in subjects else (
            "of one subject" if len(subjects) == 1 else f"of {len(subjects)} subjects"
        )
        blocks.append(Text(
            f"No intervals: the test windows are {whose}. How other people would fare is not told by "
            "these scores."
        ))
    return Section("results", "Results", blocks)


def confusion(run: RunContents) -> Section | None:
    rows = [r for r in run.metrics if r["split"] == "test" and r["method"] != "chance"]
    if not rows:
        return None
    tables = []
    for row in rows:
        counts = np.asarray(row["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        tables.append(Table(
            f"{row['method']}, balanced accuracy {row['balanced_accuracy']:.3f}",
            ["true class", *(f"predicted {c}" for c in run.classes)],
            [[name, *(Shaded(f"{s:.0%}\n{n}", float(s)) for s, n in zip(share, count, strict=True))]
             for name, share, count in zip(run.classes, shares, counts, strict=True)],
        ))
    return Section("confusion", "Confusion matrices", [
        Text("Test windows: share of each true class, and their number below."), Side(tables),
    ])


def calibrated(run: RunContents) -> Section | None:
    methods = {name: run.predictions[name] for name in ("bridge", "teacher") if name in run.predictions}
    if not methods:
        return None
    bins = {m: calibration(p.probabilities, p.labels) for m, p in methods.items()}
    answered = {m: abstention(p.probabilities, p.labels) for m, p in methods.items()}
    ece = ", ".join(f"{m} {found.ece:.3f}" for m, found in bins.items())
    shares = (1.0, 0.9, 0.75, 0.5)
    rows = []
    for m, curve in answered.items():
        places = [int(np.argmin(np.abs(curve.coverage - share))) for share in shares]
        rows.append([m, f"{bins[m].ece:.3f}", *(f"{curve.balanced_accuracy[i]:.3f}" for i in places)])
    return Section("calibration", "Calibration and abstention", [
        Side([
            Picture(
                svg(reliability_figure({m: reliability(b) for m, b in bins.items()}), "reliability",
                    f"Reliability diagram. Expected calibration error: {ece}."),
                "Reliability on test windows: on the dotted line, confidence is what it claims. The "
                f"larger a marker, the more windows. Expected calibration error (ECE): {ece}.",
            ),
            Picture(
                svg(abstention_figure({
                    m: Answered(c.coverage, c.balanced_accuracy) for m, c in answered.items()
                }), "abstention", "Balanced accuracy against the share of windows answered."),
                "What leaving out unsure windows gains.",
            ),
        ]),
        Table("Calibration error, and balanced accuracy of the surest windows",
              ["method", "ECE", *(f"{share:.0%} answered" for share in shares)], rows),
    ])


def reliability(found: Calibration) -> Reliability:
    """Returns the bins that hold windows."""
    filled = found.count > 0
    return Reliability(found.count[filled], found.confidence[filled], found.accuracy[filled])
