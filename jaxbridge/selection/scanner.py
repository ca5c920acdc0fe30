"""The scan of two encoders in full: probes, CKA, the joint map, and how far each can be trusted.

Works on plain arrays, so any two models can be scanned, whatever they are made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxbridge.features.checks import stack
from jaxbridge.selection.bootstrap import (
    Draws,
    Stability,
    cka_draws,
    probe_draws,
    ratio_draws,
    stability,
)
from jaxbridge.selection.folds import folds_by_subject, stratified_folds
from jaxbridge.selection.joint import gram, ridge_maps
from jaxbridge.selection.two_stage import Criterion, Selection, choose
from model_ports.errors import InputError

# Ridge maps cost windows^3: some windows of each fold stand for more.
MAX_JOINT_WINDOWS = 500
# CKA's draws cost subjects^2: groups of subjects are drawn where there are more.
MAX_SUBJECTS = 500


@dataclass(frozen=True)
class Scan:
    """The choice, and every score with its 95 % interval.

    Attributes:
        selection: the two-stage choice and its scores.
        probe: (new layers,) held-out score of `selection.criterion`, pooled over folds.
        cka: (new layers, old layers) biased linear CKA.
        row: (old layers,) the row of the chosen new layer alone, from which the old layer is chosen.
        joint: (new layers, old layers) share of the old layer's input, all its tokens where they
            were given, that a cross-validated ridge map from the new layer explains.
        chosen: (new layers, old layers) how often the two-stage choice fell on the position over
            all draws that define it.
        chance: what the probe score would be for guesses by class frequency.
        subjects: how many subjects were resampled, None where windows came without groups: blocks
            of consecutive windows then.
    """

    selection: Selection
    probe: Stability
    cka: Stability
    row: Stability
    joint: Stability
    chosen: np.ndarray
    chance: float
    subjects: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        out: dict[str, Any] = {"selection": self.selection.as_dict()}
        for name in ("probe", "cka", "row", "joint"):
            table = getattr(self, name)
            out[name] = {f.name: getattr(table, f.name).tolist() for f in fields(table)}
        return out | {
            "chosen": self.chosen.tolist(), "chance": self.chance, "subjects": self.subjects,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per position, for CSV."""
        rows = self.selection.to_rows()
        for row in rows:
            at = row["new_layer_output"], row["old_layer_input"]
            for name, where in (("probe", at[:1]), ("cka", at), ("joint", at)):
                table = getattr(self, name)
                if name != "cka":
                    row[f"{name}_pooled" if name == "probe" else name] = float(table.value[where])
                row[f"{name}_low"], row[f"{name}_high"] = table.low[where], table.high[where]
                row[f"{name}_probability_best"] = table.best[where]
                row[f"{name}_tied_with_best"] = bool(table.tied[where])
            row["probability_chosen"] = self.chosen[at]
        return rows


def scan(
    new_features: Sequence[ArrayLike],
    old_features: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    old_tokens: Sequence[ArrayLike] | None = None,
    num_folds: int = 5,
    criterion: Criterion = "macro_f1",
    resamples: int = 1000,
    seed: int = 0,
) -> Scan:
    """Scan two models by their pooled features of the same windows.

    Args:
        new_features: pooled output of each new layer, (windows, width_i) each.
        old_features: pooled input of each old layer, (windows, width_j) each.
        labels: (windows,) class indices: the old model's own predictions, not the truth.
        groups: (windows,) subject of each window. Folds then keep subjects apart and the intervals
            tell what other subjects would change. Without, consecutive windows are resampled in
            blocks, and intervals are too narrow where one person gave many windows.
        old_tokens: (windows, tokens, features) input of each old layer, for a joint map of all
            tokens in place of their pooled value.
        num_folds: folds of the probes; one per subject if subjects are fewer.
        criterion: what ranks the new layers.
        resamples: draws of the bootstrap.
        seed: fixes the draws.

    Raises:
        InputError: see `jaxbridge.selection.two_stage.two_stage`; fewer than 3 subjects.
    """
    # Before minutes of probes, not after.
    subjects = None
    if groups is not None:
        groups = np.asarray(groups)
        num_folds = folds_by_subject(num_folds, groups)
        subjects = len(np.unique(groups))
        if subjects < 3:
            raise InputError(
                f"groups: {subjects} subjects; intervals need at least 3. Give windows of more, or no "
                "groups (--nofold_by_subject): folds and intervals are by window then"
            )
    if old_tokens is not None:
        _check_tokens(old_tokens, len(old_features), len(labels))
    selection, probes = choose(
        new_features, old_features, labels, num_folds=num_folds, groups=groups, criterion=criterion
    )
    labels = np.asarray(labels).astype(int)
    new, _ = stack(new_features, name="new features")
    old, _ = stack(old_features, name="old features")
    folds = stratified_folds(labels, num_folds, groups=groups)
    drawn_together = None if groups is None else _drawn_together(groups, seed)
    draws = Draws(drawn_together, len(labels), resamples=resamples, seed=seed)
    lowest = criterion == "log_loss"
    if lowest:
        value = probes.window_log_loss.mean(axis=1)
        drawn = ratio_draws(probes.window_log_loss, np.ones(len(labels)), draws)
    else:
        value, drawn = probe_draws(probes.held_out, labels, draws, criterion=criterion)
    cka, cka_drawn = cka_draws(new, old, draws)
    joint, joint_drawn = _joint(
        new, old_features if old_tokens is None else old_tokens, folds, draws
    )
    probe, similarity = stability(value, drawn, lowest=lowest), stability(cka, cka_drawn)
    return Scan(
        selection, probe, similarity, stability(cka[selection.m], cka_drawn[:, selection.m]),
        stability(joint, joint_drawn),
        _chosen(probe, drawn, similarity, cka_drawn, lowest), _chance(labels, criterion),
        subjects,
    )


def _drawn_together(groups: np.ndarray, seed: int) -> np.ndarray:
    """(windows,) what is resampled as one: a subject, or some subjects where there are many."""
    names, member = np.unique(groups, return_inverse=True)
    if len(names) <= MAX_SUBJECTS:
        return member
    return (np.random.default_rng(seed).permutation(len(names)) % MAX_SUBJECTS)[member]


def _check_tokens(tokens: Sequence[ArrayLike], layers: int, windows: int) -> None:
    if len(tokens) != layers:
        raise InputError(
            f"old tokens: {len(tokens)} layers, but {layers} old features; give both of every layer"
        )
    if {len(t) for t in tokens} != {windows}:
        raise InputError(
            f"old tokens: {sorted({len(t) for t in tokens})} windows, but {windows} labels; "
            "both must come from the same paired windows"
        )


def _joint(new, targets, folds, draws: Draws):
    rows = _joint_rows(folds)
    grams = np.stack([gram(np.asarray(t)[rows]) for t in targets])
    maps = ridge_maps(new[:, rows], grams, folds[:, rows])
    error = np.zeros((*maps.r2.shape, folds.shape[1]))
    spread = np.zeros((len(targets), folds.shape[1]))
    error[..., rows], spread[:, rows] = maps.error, maps.spread
    return maps.r2, 1 - ratio_draws(error, spread, draws)


def _joint_rows(folds: np.ndarray) -> np.ndarray:
    """Ascending windows, the same share of each fold and at least one.

    Drawn: evenly spaced ones of classes that alternate would be of one class.
    """
    share = min(1.0, MAX_JOINT_WINDOWS / folds.shape[1])
    rng = np.random.default_rng(0)
    return np.sort(np.concatenate([
        rng.permutation(np.flatnonzero(fold))[: max(1, round(share * fold.sum()))] for fold in folds
    ]))  # fmt: skip


def _chosen(probe, probe_drawn, cka, cka_drawn, lowest) -> np.ndarray:
    """How often the two-stage choice fell on each position, draws shifted as in `stability`."""
    probe_drawn = probe_drawn - (np.nanmean(probe_drawn, axis=0) - probe.value)
    cka_drawn = cka_drawn - (np.nanmean(cka_drawn, axis=0) - cka.value)
    m = np.argmax(-probe_drawn if lowest else probe_drawn, axis=1)
    row = cka_drawn[np.arange(len(m)), m]
    defined = ~np.isnan(row).all(axis=1)  # a draw of windows that hardly vary chooses nothing
    l = np.nanargmax(row[defined], axis=1)  # noqa: E741
    count = np.zeros(cka.value.shape)
    np.add.at(count, (m[defined], l), 1)
    return count / max(count.sum(), 1)


def _chance(labels: np.ndarray, criterion: Criterion) -> float:
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    # Guesses by class frequency p have precision and recall p: their mean is 1 / classes.
    return float(-(share * np.log(share)).sum()) if criterion == "log_loss" else 1 / len(share)
