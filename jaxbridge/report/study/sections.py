"""The parts of a study's page on one data set."""

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import Block, Picture, Section, Side, Table, Text, Tile
from jaxbridge.report.page.calibration_figures import abstention_figure, reliability_figure
from jaxbridge.report.page.drawing import PAPER, svg
from jaxbridge.report.study.figures import (
    bars_figure,
    cost_figure,
    parameters_figure,
    varied_figure,
)
from jaxbridge.report.study.table import Part, varied
from jaxbridge.statistics.comparison import Comparison
from model_ports.errors import InputError

_SCORE = "balanced_accuracy"
_METRICS = {
    _SCORE: "balanced accuracy", "f1_macro": "F1 macro", "kappa": "Cohen's kappa",
    "ece": "calibration error (ECE)", "log_loss": "log loss",
}
# More lines than this in one diagram cannot be told apart.
_CURVES = 4


class PartSections:
    """Sections, tiles and comparisons of one study on one data set.

    Args:
        part: its rows.
        study: study.json.
        figures: folder that the figures go to.
        heading: what tells this part's headings from others; may be empty.

    Raises:
        InputError: no method is summarised.
    """

    def __init__(self, part: Part, study: Mapping[str, Any], figures: pathlib.Path, heading: str):
        self.part, self.study, self.figures = part, study, figures
        self.baselines, self.controls = study["baselines"], study["controls"]
        self.name = f", {heading}" if heading else ""
        self.slug = re.sub(r"[^a-z0-9]+", "-", f"{part.study}-{part.dataset}".lower()).strip("-")
        self.methods = [m for m in part.methods if _SCORE in part.summary(m)]
        if not self.methods:
            raise InputError(
                f"results.csv has no summary of {part.study} on {part.dataset}; run the study to its "
                "end."
            )
        self.found = {m: part.summary(m) for m in self.methods}
        self.scores = {m: self.found[m][_SCORE] for m in self.methods}
        self.costs = {m: part.costs(m) for m in self.methods}
        self.chance = 1 / part.num_classes

    @functools.cached_property
    def comparisons(self) -> list[Comparison]:
        try:
            found, self.left_out = self.part.comparisons(self.baselines, self.controls)
        except InputError as error:
            self.why_not = str(error)
            return []
        if not found:
            self.why_not = "there is no other method."
        return found

    def sections(self) -> list[Section]:
        found = (self._scores(), self._compared(), self._varied(), self._cost(), self._calibration())
        return [section for section in found if section is not None]

    def tiles(self) -> list[Tile]:
        """The best of the methods and of the baselines."""
        tiles = []
        groups = (
            ("Best method", [m for m in self.methods if m not in (*self.controls, *self.baselines)]),
            ("Best baseline", [m for m in self.methods if m in self.baselines]),
        )
        for label, members in groups:
            if members:
                best = max(members, key=lambda m: self.scores[m].value)
                tiles.append(Tile(f"{label}{self.name}", f"{self.scores[best].value:.3f}", best))
        return tiles

    def _scores(self) -> Section:
        said = "; ".join(f"{m} {words.score(*self.scores[m])}" for m in self.methods)
        bars = bars_figure(
            self.scores, {m: self.part.runs(m, _SCORE) for m in self.methods}, self.baselines,
            self.controls, self.chance,
        )
        pictures = [self._picture(
            bars, "scores", f"Balanced accuracy: {said}.",
            "Balanced accuracy of every method on test windows, mean over seeds; the interval is over "
            "subjects.",
        )]
        sized = {
            m: (size, self.scores[m]) for m in self.methods
            if (size := self.costs[m]["trainable_parameters"]) > 0
        }
        if len(sized) > 1:
            key = ", ".join(f"{i + 1} {m}" for i, m in enumerate(sized))
            pictures.append(self._picture(
                parameters_figure(sized, self.baselines, self.controls, self.chance), "parameters",
                "Balanced accuracy against trained parameters: " + "; ".join(
                    f"{m}: {words.count(size)} parameters, {found.value:.3f}"
                    for m, (size, found) in sized.items()
                ), f"Balanced accuracy against trained parameters. {key}.",
            ))
        rows = [
            [m, words.count(self.costs[m]["trainable_parameters"]),
             *(words.score(*self.found[m][metric]) if metric in self.found[m] else "–"
               for metric in _METRICS)]
            for m in self.methods
        ]
        table = Table(
            "Scores on test windows, with 95 % intervals over subjects",
            ["method", "trained parameters", *_METRICS.values()], rows,
        )
        runs = max(len(self.part.runs(m, _SCORE)) for m in self.methods)
        advice = filter(None, (
            "Intervals tell what other people would change, not what other seeds would: the points of "
            "the figure show that." if runs > 1 else "",
            words.few(len(self.part.subjects)),
        ))
        return self._section("scores", "Scores", [Side(pictures), table, *map(Text, advice)])

    def _compared(self) -> Section | None:
        if not self.baselines:
            return None
        if not self.comparisons:
            return self._section("comparison", "Against the best baseline", [
                Text(f"No comparison: {self.why_not}")
            ])
        best = self.comparisons[0].baseline
        rows = [
            [c.method, f"{c.difference:+.3f}", f"{c.low:+.3f} to {c.high:+.3f}",
             *(words.probability(p) for p in (
                 c.p_bootstrap, c.p_bootstrap_holm, c.p_wilcoxon, c.p_wilcoxon_holm))]
            for c in self.comparisons
        ]
        return self._section("comparison", "Against the best baseline", [
            Table(
                f"Balanced accuracy minus that of {best}",
                ["method", "difference", "95 % interval", "p, bootstrap", "p, bootstrap (Holm)",
                 "p, Wilcoxon", "p, Wilcoxon (Holm)"], rows,
            ),
            Text(
                "Paired over subjects. The best baseline is the best on these very windows, which "
                f"favours it. Holm: corrected for {len(rows)} comparisons. With n subjects Wilcoxon's "
                "p cannot fall below 2 / 2^n."
            ),
            *([Text(f"Not compared, for want of a seed or fold: {', '.join(self.left_out)}.")]
              if self.left_out else []),
        ])

    def _varied(self) -> Section | None:
        axis = self.study.get("axis")
        series = varied(axis, self.methods) if axis else {}
        if not series:
            return None
        points = {
            name: [(x, self.scores[m]) for x, m in members] for name, members in series.items()
        }
        figure = varied_figure(points, axis["label"], bool(axis.get("log")), self.chance)
        said = "; ".join(
            f"{name}: " + ", ".join(f"{found.value:.3f} at {x:g}" for x, found in members)
            for name, members in points.items()
        )
        picture = self._picture(
            figure, "varied", f"Balanced accuracy against {axis['label']}. {said}.",
            f"Balanced accuracy against {axis['label']}.",
        )
        places = sorted({x for members in points.values() for x, _ in members})
        table = Table(
            f"Balanced accuracy by {axis['label']}", ["series", *(f"{x:g}" for x in places)],
            [[name, *(words.score(*dict(members)[x]) if x in dict(members) else "–" for x in places)]
             for name, members in points.items()],
        )
        return self._section("varied", axis["label"][:1].upper() + axis["label"][1:], [picture, table])

    def _cost(self) -> Section | None:
        if not any(np.isfinite(cost["wall_s"]) for cost in self.costs.values()):
            return None
        pictures = []
        for name, label, unit in (
            ("wall_s", "training time", "s"),
            ("peak_memory_bytes", "memory of a training step", "B"),
        ):
            values = {m: self.costs[m][name] for m in self.methods if self.costs[m][name] > 0}
            if values:
                said = "; ".join(f"{m} {words.scaled(v, unit)}" for m, v in values.items())
                pictures.append(self._picture(
                    cost_figure(values, label, unit, self.baselines, self.controls), name,
                    f"{label}: {said}.", f"{label[:1].upper()}{label[1:]} of every method.",
                ))
        rows = [
            [m, words.count(c["trainable_parameters"]), words.count(c["frozen_parameters"]),
             words.seconds(c["wall_s"]), words.seconds(c["epoch_s"]),
             words.scaled(c["peak_memory_bytes"], "B"), words.count(c["train_samples"]),
             words.scaled(c["train_flops_per_sample"], "FLOP"),
             words.scaled(c["inference_flops_per_sample"], "FLOP")]
            for m, c in self.costs.items()
        ]
        return self._section("cost", "Time and memory", [
            Side(pictures),
            Table("What a method takes", [
                "method", "trained parameters", "frozen parameters", "training time", "an epoch",
                "memory of a step", "windows gone through", "training, per window",
                "prediction, per window",
            ], rows),
            Text(
                "Time is that of the fit with its compilation, without what is captured once for all "
                "methods. Memory and arithmetic are those that XLA states of the compiled programs."
            ),
        ])

    def _calibration(self) -> Section | None:
        bins = {m: b for m in self.methods if (b := self.part.reliability(m)) is not None}
        answered = {m: a for m in self.methods if (a := self.part.answered(m)) is not None}
        if not bins or not answered:
            return None
        shown = self._shown(list(bins))
        ece = ", ".join(f"{m} {self.found[m]['ece'].value:.3f}" for m in shown)
        shares = (1.0, 0.9, 0.75, 0.5)
        rows = [
            [m, f"{self.found[m]['ece'].value:.3f}",
             *(f"{a.score[np.argmin(np.abs(a.share - share))]:.3f}" for share in shares)]
            for m, a in answered.items()
        ]
        return self._section("calibration", "Calibration and abstention", [
            Side([
                self._picture(
                    reliability_figure({m: bins[m] for m in shown}), "reliability",
                    f"Reliability diagram. Expected calibration error: {ece}.",
                    "Reliability on test windows: on the dotted line, confidence is what it claims. "
                    "The larger a marker, the more windows. Windows of all seeds and folds are pooled; "
                    "the calibration error is the mean over seeds and folds.",
                ),
                self._picture(
                    abstention_figure({m: answered[m] for m in shown}), "abstention",
                    "Balanced accuracy against the share of windows answered.",
                    "What leaving out unsure windows gains.",
                ),
            ]),
            Table("Calibration error, and balanced accuracy of the surest windows",
                  ["method", "ECE", *(f"{share:.0%} answered" for share in shares)], rows),
        ])

    def _shown(self, methods: list[str]) -> list[str]:
        """The best few that are no controls, or the best few."""
        ranked = sorted(methods, key=lambda m: (m in self.controls, -self.scores[m].value))
        return ranked[:_CURVES]

    def _section(self, name: str, title: str, blocks: list[Block]) -> Section:
        return Section(f"{name}-{self.slug}", f"{title}{self.name}", blocks)

    def _picture(self, figure: Figure, name: str, alt: str, caption: str) -> Picture:
        path = self.figures / f"{self.slug}-{name}"
        figure.savefig(path.with_suffix(".png"), dpi=200, facecolor=PAPER)
        figure.set_layout_engine("none")  # laid out once
        return Picture(svg(figure, f"{self.slug}-{name}", alt), caption)
