"""A task head by itself: fitted, evaluated and saved for runs that start from it."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbridge import hosts, metrics
from jaxbridge.bridge import num_parameters
from jaxbridge.data.splits import check_classes
from jaxbridge.encoder_leads import check_leads
from jaxbridge.features.sweep import sweep
from jaxbridge.recorded_parts import WEIGHTS, recorded_encoder
from jaxbridge.run_folder import RunFolder, existing, read_json, write_json, write_rows
from jaxbridge.saved_head import save_head
from jaxbridge.teacher import HeadSettings, Teacher
from jaxbridge.teacher_stage import STAGE, teacher_stage
from jaxbridge.training.metric_log import require
from model_ports import Encoder
from model_ports.errors import InputError

_HEAD = "head"
STAGES = (STAGE, _HEAD)
"""Of a head's run, in order."""


class HeadResult(NamedTuple):
    """What `fit_task_head` returns.

    Attributes:
        teacher: encoder and head.
        metrics: rows of a results table, one per split.
        folder: of the saved head, see `saved_head.load_head`.
    """

    teacher: Teacher
    metrics: list[dict[str, Any]]
    folder: pathlib.Path


def fit_task_head(
    windows: Any, encoder: Encoder, modality: str, settings: HeadSettings, *,
    out: str | pathlib.Path, seed: int = 0, batch_size: int = 32, checkpoint_every: int = 500,
    log: Sequence[str] = ("jsonl",), rerun: Collection[str] = (),
) -> HeadResult:
    """Fits a head on the train windows and evaluates it on train, val and test, where there are any.

    Args:
        windows: labelled windows, see `jaxbridge.pipeline.Windows`; splits train and val are needed.
        encoder: what reads them.
        modality: its name in the windows.
        settings: see `HeadSettings`.
        out: run folder with stages "teacher" and "head"; finished ones are kept, an unfinished one
            goes on where it was.
        seed: fixes initial values and orders.
        batch_size: windows per call where nothing is trained.
        checkpoint_every: steps between checkpoints.
        log: see `MetricLog`.
        rerun: stages to run again.

    Raises:
        InputError: windows, encoder, settings or folder do not fit.
    """
    require(log)
    if modality not in windows.modalities:
        raise InputError(
            f"there is no modality {modality!r}; the windows have {', '.join(windows.modalities)}."
        )
    check_leads(encoder, windows, modality)
    splits = {name: np.flatnonzero(windows.splits == name) for name in ("train", "val", "test")}
    for name in ("train", "val"):
        if not splits[name].size:
            raise InputError(f"split {name!r} has no windows; prepare the windows with it.")
    # The head is measured on all of them: a class that one lacks is refused before it is fitted.
    check_classes(
        windows.labels, windows.splits, windows.class_names,
        [name for name, some in splits.items() if some.size],
    )
    identity = {
        "windows_hash": windows.hash, "class_names": windows.class_names, "modality": modality,
        "encoder": recorded_encoder(encoder), "head": dataclasses.asdict(settings), "seed": seed,
    }
    run = RunFolder(out, identity, STAGES, rerun)
    teacher = teacher_stage(
        run, windows, encoder, modality, settings, seed=seed, batch_size=batch_size,
        checkpoint_every=checkpoint_every, log=log, identity=identity,
    )

    def report(folder: pathlib.Path) -> None:
        trained = num_parameters(teacher if settings.unfrozen else teacher.head)
        predicted = np.zeros(len(windows.labels), np.int64)
        chosen = np.concatenate(list(splits.values()))
        predicted[chosen] = sweep(
            _predict, teacher, lambda indices: windows.read(modality, indices), chosen,
            batch_size=batch_size, what=f"predicting from {modality}",
        )
        rows = [
            {
                "method": "head", "modality": modality, "split": split,
                "trainable_parameters": trained,
                **metrics.evaluate(windows.labels[some], predicted[some], windows.class_names),
            }
            for split, some in splits.items() if some.size
        ]
        if hosts.first():
            save_head(
                teacher, encoder, folder / "pretrained", settings=settings,
                class_names=windows.class_names, modality=modality,
                signal_shape=windows.shape(modality), windows_hash=windows.hash,
                preprocessing={
                    **getattr(windows, "metadata", {}), "sources": windows.sources
                },
                metrics=rows,
            )
        write_json(folder / "metrics.json", rows)
        write_rows(folder / "metrics.csv", rows)

    folder = run.stage(_HEAD, report)
    saved = existing(folder / "pretrained" / WEIGHTS).parent
    return HeadResult(teacher, read_json(folder / "metrics.json"), saved)


def _predict(teacher: Teacher, signal: jax.Array) -> jax.Array:
    return teacher(signal).argmax(axis=1)
