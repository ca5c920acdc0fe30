"""Two-stage choice of the bridge's position (BioX-Bridge, arXiv 2510.02276, section 3).

First the new encoder's layer m whose output best predicts the teacher's pseudo-labels, then the
old encoder's layer l whose input is most similar (biased linear CKA) to it; the first of equals
wins, as in the published code. The position after the last old layer ("head") is no candidate.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxbridge.features import checks as feature_checks
from jaxbridge.features.checks import stack
from jaxbridge.selection import reference_probe
from jaxbridge.selection.cka import linear_cka
from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.probe import ProbeResult, probe_layers
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")

Criterion = Literal["macro_f1", "balanced_accuracy", "log_loss"]
CRITERIA = ("macro_f1", "balanced_accuracy", "log_loss")


@dataclass(frozen=True)
class Selection:
    """The chosen position and all scores that it was chosen by.

    Args:
        m: new layer whose output enters the bridge.
        l: old layer whose input the bridge replaces.
        criterion: what the probes were ranked by.
        probe_scores: (new layers, folds) that criterion (log loss: the lower the better).
        cka: (new layers, old layers) biased linear CKA, new output against old input.
        cka_debiased: the same, debiased: around 0 for unrelated layers at any sample size.
    """

    m: int
    l: int  # noqa: E741
    criterion: Criterion
    probe_scores: np.ndarray
    cka: np.ndarray
    cka_debiased: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it back."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Selection":
        """Reads what `as_dict` wrote."""
        return cls(
            **{
                key: np.asarray(value, np.float64) if isinstance(value, list) else value
                for key, value in values.items()
            }
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per position (m, l), for CSV."""
        mean, std = self.probe_scores.mean(axis=1), self.probe_scores.std(axis=1)
        return [
            {
                "new_layer_output": m,
                "old_layer_input": l,
                f"probe_{self.criterion}": float(mean[m]),
                "probe_std_over_folds": float(std[m]),
                "cka": float(self.cka[m, l]),
                "cka_debiased": float(self.cka_debiased[m, l]),
                "chosen": (m, l) == (self.m, self.l),
            }
            for m, l in np.ndindex(self.cka.shape)  # noqa: E741
        ]


def two_stage(
    new_outputs: Sequence[ArrayLike],
    old_inputs: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    num_folds: int = 5,
    groups: ArrayLike | None = None,
    criterion: Criterion = "macro_f1",
    as_published: bool = False,
) -> Selection:
    """Choose the bridge's position from pooled features of paired windows.

    Args:
        new_outputs: token means of each new layer's output, (windows, width_i) each.
        old_inputs: token means of each old layer's input, (windows, width_j) each, same windows.
        labels: (windows,) class indices: the teacher's pseudo-labels.
        num_folds: folds of the probes, stratified by label.
        groups: (windows,) subject of each window: no subject is then on both sides of a fold.
        criterion: what ranks the new layers.
        as_published: score with scikit-learn's solver as the published code calls it, which ends
            before its minimum (see `jaxbridge.selection.reference_probe`): slow, for comparison.

    Raises:
        InputError: different window counts, NaN or constant features, fewer than 4 windows,
            labels of one class, fewer than two classes with as many windows as folds, or an unknown
            criterion.
    """
    return choose(
        new_outputs, old_inputs, labels, num_folds=num_folds, groups=groups, criterion=criterion,
        as_published=as_published,
    )[0]


def choose(
    new_outputs: Sequence[ArrayLike],
    old_inputs: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    num_folds: int = 5,
    groups: ArrayLike | None = None,
    criterion: Criterion = "macro_f1",
    as_published: bool = False,
) -> tuple[Selection, ProbeResult | None]:
    """`two_stage`, and the probes that it chose by (None as published)."""
    if criterion not in CRITERIA:
        raise InputError(f"criterion {criterion!r} is unknown; use one of {', '.join(CRITERIA)}")
    if as_published and criterion != "macro_f1":
        raise InputError("the published code scores by macro_f1; use that criterion with it")
    new, _ = stack(new_outputs, name="new features")
    old, _ = stack(old_inputs, name="old features")
    feature_checks.check(new, name="new features")
    feature_checks.check(old, name="old features")
    feature_checks.check_pairs(new, old)
    # Before minutes of probes, not after.
    feature_checks.check_not_constant(new, name="new features")
    feature_checks.check_not_constant(old, name="old features")
    labels = feature_checks.check_labels(labels, new.shape[1], num_folds=num_folds)
    if rare := feature_checks.rare_classes(labels, num_folds):
        said = ", ".join(f"class {k}: {count}" for k, count in rare.items())
        _log.warning("fewer windows than folds (%s): some folds lack them", said)
    folds = stratified_folds(labels, num_folds, groups=groups)
    probes = None
    if as_published:
        scores = reference_probe.macro_f1(new_outputs, labels, folds)
    else:
        probes = probe_layers(new, labels, folds, num_classes=int(labels.max()) + 1)
        scores = getattr(probes, criterion)
    mean = scores.mean(axis=1)
    m = int(np.argmin(mean) if criterion == "log_loss" else np.argmax(mean))
    cka = linear_cka(new, old)
    selection = Selection(
        m=m,
        l=int(np.argmax(cka[m])),
        criterion=criterion,
        probe_scores=scores,
        cka=cka,
        cka_debiased=linear_cka(new, old, debiased=True),
    )
    return selection, probes
