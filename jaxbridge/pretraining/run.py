"""Pretraining as a run: trained once, measured on every set, and saved for runs that start from it."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge import hosts, metrics
from jaxbridge.data.splits import check_classes
from jaxbridge.encoder_leads import check_leads
from jaxbridge.features.sweep import sweep
from jaxbridge.pretraining.fitting import PretrainSettings, pretrain
from jaxbridge.pretraining.mixing import TaskSet, common_shape
from jaxbridge.pretraining.multi_task import MultiTask
from jaxbridge.recorded_parts import WEIGHTS, recorded_encoder
from jaxbridge.run_folder import (
    RunFolder,
    existing,
    read_json,
    write_curve,
    write_json,
    write_rows,
)
from jaxbridge.training.checkpoints import until_done
from jaxbridge.training.metric_log import MetricLog, require
from model_ports import Encoder
from model_ports.errors import InputError

_STAGE = "pretraining"
_SPLITS = ("train", "val", "test")


class PretrainResult(NamedTuple):
    """What `pretrain_encoder` returns.

    Attributes:
        metrics: a row per set and split.
        folder: of the encoder, see `model_ports.load`.
    """

    metrics: list[dict[str, Any]]
    folder: pathlib.Path


def pretrain_encoder(
    encoder: Encoder, sets: Sequence[TaskSet], settings: PretrainSettings, *,
    out: str | pathlib.Path, seed: int = 0, batch_size: int = 32, checkpoint_every: int = 500,
    log: Sequence[str] = ("jsonl",), rerun: Collection[str] = (),
) -> PretrainResult:
    """Pretrains an encoder, measures its heads on train, val and test of every set, and saves it.

    Args:
        encoder, sets, settings: see `pretrain`. Of an encoder of pictures that draws its signals,
            the encoder of pictures is saved.
        out: run folder; its stage "pretraining" holds encoder/, metrics.json, metrics.csv and
            curve.csv. A finished one is kept, an unfinished one goes on where it was.
        seed: see `pretrain`.
        batch_size: windows per call where nothing is trained.
        checkpoint_every: steps between checkpoints.
        log: see `MetricLog`.
        rerun: ("pretraining",) to run it again.

    Raises:
        InputError: see `pretrain`, a split to measure on that lacks a class, other leads than the
            encoder's, or a folder that does not fit.
    """
    require(log)
    common_shape(sets)
    for one in sets:  # `metrics.evaluate` would refuse it too, but after the training
        try:
            check_classes(
                one.windows.labels, one.windows.splits, one.windows.class_names,
                [split for split in _SPLITS if split in one.windows.splits],
            )
            check_leads(encoder, one.windows, one.modality)
        except InputError as error:
            raise InputError(f"set {one.name}: {error}") from None
    identity = {
        "sets": {
            one.name: {"windows_hash": one.windows.hash, "modality": one.modality,
                       "class_names": one.windows.class_names}
            for one in sets
        },
        "encoder": recorded_encoder(encoder), "settings": dataclasses.asdict(settings), "seed": seed,
    }
    run = RunFolder(out, identity, (_STAGE,), rerun)
    # Settings are compared by name, but which head and which windows are a set's goes by its place.
    before = list(read_json(run.path / "run.json")["settings"]["sets"])
    if before != [one.name for one in sets]:
        raise InputError(
            f"{run.path} holds a run on the sets {', '.join(before)} in this order, which decides its "
            "heads; give them in it, or another folder."
        )

    def compute(folder: pathlib.Path) -> None:
        about = {**identity, "what": _STAGE}
        # Checkpoints stay until all is written: to read every window once more takes long.
        with until_done(folder, about, every=checkpoint_every) as checkpoints:
            with MetricLog(folder, _STAGE, log) as epochs:
                model, curve = pretrain(
                    encoder, sets, settings, seed=seed, checkpoints=checkpoints, on_epoch=epochs.add
                )
            rows = [
                row for number, one in enumerate(sets) for row in _rows(model, number, one, batch_size)
            ]
            if hosts.first():
                mp.save(
                    model.encoder, folder / "encoder",
                    origin=f"pretrained on {', '.join(one.name for one in sets)} by jaxbridge",
                )
            write_json(folder / "metrics.json", rows)
            write_rows(folder / "metrics.csv", rows)
            write_curve(folder / "curve.csv", curve)

    folder = run.stage(_STAGE, compute, goes_on=True)
    saved = existing(folder / "encoder" / WEIGHTS).parent
    return PretrainResult(read_json(folder / "metrics.json"), saved)


def _rows(
    model: MultiTask, number: int, one: TaskSet, batch_size: int
) -> list[dict[str, Any]]:
    rows = []
    for split in _SPLITS:
        chosen = np.flatnonzero(one.windows.splits == split)
        if not chosen.size:
            continue
        predicted = sweep(
            _predict, model, lambda indices: one.windows.read(one.modality, indices), chosen,
            batch_size=batch_size, what=f"predicting {one.name}, {split}",
        )[number]
        rows.append({
            "set": one.name, "modality": one.modality, "split": split,
            "log_variance": float(model.log_variances[...][number]),
            **metrics.evaluate(one.windows.labels[chosen], predicted, one.windows.class_names),
        })
    return rows


def _predict(model: nnx.Module, signal: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(logits.argmax(axis=1) for logits in model(signal))
