"""Single representations, single modalities and all of them fused, on the same windows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxbridge import metrics
from jaxbridge.fusion.fitting import FusionSettings, fit_fusion
from jaxbridge.fusion.fuse import FUSIONS
from jaxbridge.teacher import HeadSettings
from model_ports.errors import InputError

_FIGURES = ("accuracy", "balanced_accuracy", "f1_macro")


@dataclasses.dataclass(frozen=True)
class Combination:
    """What a classifier sees.

    Attributes:
        modalities, representations: their names; every modality in every representation.
        fusion: over the representations and over the modalities; "" where there is one of each.
    """

    modalities: tuple[str, ...]
    representations: tuple[str, ...]
    fusion: str = ""


@dataclasses.dataclass(frozen=True)
class Parts:
    """Windows by what they are for: to train, to choose the epoch, to report on; indices."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def combinations(
    modalities: Sequence[str], representations: Sequence[str], fusions: Sequence[str] = FUSIONS
) -> list[Combination]:
    """Returns every single one, every modality with its representations fused, and all fused."""
    modalities, representations = tuple(modalities), tuple(representations)
    found = [Combination((m,), (r,)) for m in modalities for r in representations]
    if len(representations) > 1:
        found += [Combination((m,), representations, f) for m in modalities for f in fusions]
    if len(modalities) > 1:
        found += [Combination(modalities, representations, f) for f in fusions]
    return found


def compare_fusions(
    embeddings: Mapping[tuple[str, str], np.ndarray], labels: np.ndarray, class_names: Sequence[str],
    wanted: Sequence[Combination], parts: Mapping[int, Parts], head: HeadSettings,
) -> list[dict[str, Any]]:
    """Fits a classifier per combination and seed.

    Args:
        embeddings: (modality, representation) -> (windows, features).
        labels: (windows,) classes.
        class_names: one per class.
        wanted: see `combinations`.
        parts: seed -> windows; the seed also fixes initial values and order.
        head: the head and its training.

    Returns:
        A row per combination: "modalities", "representations", "fusion", "trained_parameters",
        "seeds", and mean and standard deviation over seeds ("accuracy", "accuracy_std", ...).

    Raises:
        InputError: an embedding that is not there, or see `fit_fusion` and `metrics.evaluate`.
    """
    rows = []
    for number, one in enumerate(wanted, 1):
        inputs = _inputs(embeddings, one)
        found = []
        for seed, part in parts.items():
            settings = FusionSettings(one.fusion or "add", one.fusion or "add", head)
            model, _ = fit_fusion(
                (inputs[part.train], labels[part.train]), (inputs[part.val], labels[part.val]),
                len(class_names), settings, seed=seed,
                what=f"{number}/{len(wanted)}, {_name(one)}, seed {seed}",
            )
            predictions = np.asarray(_logits(model, inputs[part.test])).argmax(axis=1)
            found.append(metrics.evaluate(labels[part.test], predictions, class_names))
        row: dict[str, Any] = {
            "modalities": " + ".join(one.modalities),
            "representations": " + ".join(one.representations), "fusion": one.fusion,
            "trained_parameters": model.num_trained, "seeds": len(found),
        }
        for figure in _FIGURES:
            values = [each[figure] for each in found]
            row |= {figure: float(np.mean(values)), f"{figure}_std": float(np.std(values))}
        rows.append(row)
    return rows


@jax.jit
def _logits(model, inputs):
    return model(inputs)


def _inputs(
    embeddings: Mapping[tuple[str, str], np.ndarray], one: Combination
) -> np.ndarray:
    """(windows, modalities, representations, features)."""
    pairs = [(m, r) for m in one.modalities for r in one.representations]
    if missing := [pair for pair in pairs if pair not in embeddings]:
        raise InputError(f"there is no embedding of {missing[0][0]} as {missing[0][1]}.")
    stacked = np.stack([embeddings[pair] for pair in pairs], axis=1)
    return stacked.reshape(len(stacked), len(one.modalities), len(one.representations), -1)


def _name(one: Combination) -> str:
    shown = one.representations[0] if len(one.representations) == 1 else "all representations"
    return " + ".join(one.modalities) + f" as {shown}" + (f", {one.fusion}" if one.fusion else "")
