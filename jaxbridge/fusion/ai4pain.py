"""AI4PAIN with an encoder of pictures: our table, and the published figures beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbridge.data.memory import ArrayWindows
from jaxbridge.data.published.ai4pain import CLASS_NAMES, MODALITIES, Ai4Pain
from jaxbridge.data.splits.dealing import split_subjects
from jaxbridge.features.images import ALL, ensure_image_features
from jaxbridge.fusion.comparison import Parts, combinations, compare_fusions
from jaxbridge.fusion.fuse import FUSIONS
from jaxbridge.teacher import HeadSettings
from model_ports import Encoder
from model_ports.errors import InputError

_ORGANISERS = "organisers' baseline: SVM on simple statistics"
_PAPER = "Tiny-BioMoE (arXiv 2507.21875), pretrained"
_ALL = " + ".join(MODALITIES)


def _published(source: str, modalities: str, accuracy: float, partition: str) -> dict[str, Any]:
    return {
        "source": source, "modalities": modalities, "accuracy": accuracy, "partition": partition
    }


# The organisers' page gives both partitions; of the paper the abstracted figures are known here, not
# the modality of the first nor the partition.
PUBLISHED = (
    *(
        _published(_ORGANISERS, modality, accuracy, partition)
        for partition, figures in (
            ("validation", (0.4560, 0.5625, 0.4907, 0.3726, 0.5277)),
            ("test", (0.3850, 0.4569, 0.4568, 0.3678, 0.5230)),
        )
        for modality, accuracy in zip((*MODALITIES, _ALL), figures, strict=True)
    ),
    _published(_PAPER, "one modality, representations fused", 0.5489, "not known here"),
    _published(_PAPER, _ALL, 0.8241, "not known here"),
)


def ai4pain_table(
    dataset: Ai4Pain, encoder: Encoder, root: str | Path, *, evaluated: str = "validation",
    drawn_as: Sequence[str] = ALL, modalities: Sequence[str] = tuple(MODALITIES),
    fusions: Sequence[str] = FUSIONS, head: HeadSettings = HeadSettings(patience=20),  # noqa: B008
    seeds: Sequence[int] = (0,), held_out: float = 0.2, batch_size: int = 32,
) -> list[dict[str, Any]]:
    """Runs single representations, single modalities and fusions; returns rows and published ones.

    The encoder stays as it is. Classifiers are fitted on the published training subjects but for a
    part, held out by subject and seed to choose the epoch; what is reported on is not seen before.

    Args:
        dataset: with the partitions "train" and `evaluated`.
        encoder: an encoder of pictures.
        root: folder of the feature stores, which are kept.
        evaluated: "validation", or "test" where its labels are known.
        drawn_as: names of representations.
        modalities: some of `MODALITIES`.
        fusions: some of `fuse.FUSIONS`.
        head: the classifiers' head and training.
        seeds: one fit each.
        held_out: share of the training subjects.
        batch_size: windows per call of the encoder.

    Returns:
        Rows of `compare_fusions` with "source" ("this run") and "partition", then `PUBLISHED`.

    Raises:
        InputError: a partition that is not among the data set's, no subjects to hold out, or see
            `ensure_image_features` and `compare_fusions`.
    """
    for partition in ("train", evaluated):
        if partition not in dataset.partitions:
            raise InputError(
                f"partition {partition!r} is not read; the data set has "
                f"{', '.join(dataset.partitions)}."
            )
    windows = _windows(dataset, evaluated)
    stores = ensure_image_features(
        root, encoder, windows, modalities, drawn_as, batch_size=batch_size
    )
    parts = {seed: _parts(windows, held_out, seed) for seed in seeds}
    rows = compare_fusions(
        {pair: store.final() for pair, store in stores.items()}, windows.labels, CLASS_NAMES,
        combinations(modalities, drawn_as, fusions), parts, head,
    )
    own = [{"source": "this run", "partition": evaluated, **row} for row in rows]
    return [*own, *(dict(row) for row in PUBLISHED)]


def _windows(dataset: Ai4Pain, evaluated: str) -> ArrayWindows:
    wanted = {"train": "train", evaluated: "test"}
    batches = [
        (dataset.windows(name), wanted[name.partition("/")[0]])
        for name in dataset.recordings if name.partition("/")[0] in wanted
    ]
    counts = [len(batch.labels) for batch, _ in batches]
    return ArrayWindows(
        {m: np.concatenate([batch.arrays[m] for batch, _ in batches]) for m in MODALITIES},
        np.concatenate([batch.labels for batch, _ in batches]),
        np.repeat([split for _, split in batches], counts), CLASS_NAMES,
        np.repeat([batch.subject for batch, _ in batches], counts),
    )


def _parts(windows: ArrayWindows, held_out: float, seed: int) -> Parts:
    chosen = windows.indices("train")
    subjects = windows.subjects[chosen]
    dealt = split_subjects(subjects, {"train": 1 - held_out, "val": held_out}, seed)
    train, val = (chosen[np.isin(subjects, dealt[split])] for split in ("train", "val"))
    return Parts(train, val, windows.indices("test"))


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table; accuracies in per cent."""
    lines = ["| source | modalities | representations | fusion | on | accuracy % | F1 macro % |",
             "|---|---|---|---|---|--:|--:|"]
    for row in rows:
        shown = row.get("representations", "")
        shown = "all" if " + " in shown else shown.replace("_", " ")
        lines.append("| " + " | ".join((
            row["source"], row["modalities"], shown, row.get("fusion", ""), row["partition"],
            _percent(row, "accuracy"), _percent(row, "f1_macro"),
        )) + " |")
    return "\n".join(lines)


def _percent(row: dict[str, Any], figure: str) -> str:
    if figure not in row:
        return ""
    spread = f" ± {100 * row[f'{figure}_std']:.2f}" if row.get("seeds", 1) > 1 else ""
    return f"{100 * row[figure]:.2f}{spread}"
