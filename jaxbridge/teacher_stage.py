"""The old modality's classifier as a stage of a run: fitted to labels once, then read back."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.checkpoint import restore_module, save_module
from jaxbridge.features.capture import mean_context
from jaxbridge.features.sweep import sweep
from jaxbridge.head import TaskHead
from jaxbridge.run_folder import RunFolder, write_curve
from jaxbridge.teacher import HeadSettings, Teacher, fit_head, fit_unfrozen
from jaxbridge.training.checkpoints import until_done
from jaxbridge.training.metric_log import MetricLog
from model_ports import Encoder

STAGE = "teacher"


class Windows(Protocol):
    """What is read here: a `WindowStore` or `ArrayWindows`."""

    labels: np.ndarray

    @property
    def class_names(self) -> tuple[str, ...]: ...
    def indices(self, split: str) -> np.ndarray: ...
    def shape(self, modality: str) -> tuple[int, ...]: ...
    def read(self, modality: str, indices: np.ndarray) -> np.ndarray: ...


def teacher_stage(
    run: RunFolder, windows: Windows, encoder: Encoder, modality: str, settings: HeadSettings, *,
    seed: int, batch_size: int, checkpoint_every: int, log: Sequence[str],
    identity: Mapping[str, Any],
) -> Teacher:
    """Fits a head, with the encoder or without, on the train windows; val picks the epoch.

    Args:
        run: its stage "teacher" holds the result; an unfinished one goes on where it was.
        windows: labelled windows with splits train and val.
        encoder: what reads them; it is left as it is.
        modality: its name in the windows.
        settings: see `HeadSettings`.
        seed: fixes initial values and orders.
        batch_size: windows per call where nothing is trained.
        checkpoint_every: steps between checkpoints.
        log: see `MetricLog`.
        identity: everything that decides the result.

    Raises:
        InputError: see `fit_head`.
    """
    count = len(windows.class_names)

    def read(indices: np.ndarray) -> np.ndarray:
        return windows.read(modality, indices)

    def compute(folder: pathlib.Path) -> None:
        rows = [windows.indices(split) for split in ("train", "val")]
        chosen = np.concatenate(rows)
        inputs = read(chosen) if settings.unfrozen else sweep(
            _last_mean, encoder, read, chosen, batch_size=batch_size,
            what=f"reading {modality} windows",
        )
        train, val = (
            (some, windows.labels[which])
            for some, which in zip(np.split(inputs, [len(rows[0])]), rows, strict=True)
        )
        about = {**identity, "what": STAGE}
        # Checkpoints stay until the teacher is written: its context is of all training windows.
        with until_done(folder, about, every=checkpoint_every) as checkpoints:
            with MetricLog(folder, STAGE, log) as epochs:
                how = {"seed": seed, "checkpoints": checkpoints, "on_epoch": epochs.add}
                if settings.unfrozen:
                    teacher, curve = fit_unfrozen(encoder, train, val, count, settings, **how)
                else:
                    head, curve = fit_head(train, val, count, settings, **how)
                    teacher = Teacher(encoder, head)
            teacher.head.keep_context(
                mean_context(teacher.encoder, read, windows.indices("train"), batch_size=batch_size)
            )
            save_module(folder / "checkpoint", teacher if settings.unfrozen else teacher.head)
            write_curve(folder / "curve.csv", curve)

    folder = run.stage(STAGE, compute, goes_on=True)
    head = untrained_head(encoder, windows.shape(modality), count, settings.hidden)
    if settings.unfrozen:
        teacher = Teacher(nnx.clone(encoder), head)
        restore_module(folder / "checkpoint", teacher)
        return teacher
    restore_module(folder / "checkpoint", head)
    return Teacher(encoder, head)


def untrained_head(
    encoder: Encoder, signal_shape: Sequence[int], num_classes: int, hidden: int | None
) -> TaskHead:
    """Returns a head on an encoder's last layer, its kept context zeros.

    Args:
        encoder: what the head reads.
        signal_shape: of one window.
        num_classes: of the task.
        hidden: see `TaskHead`.
    """
    shape = (1, *signal_shape)
    _, width = encoder.layer_shape(encoder.num_layers, shape)
    context = jax.eval_shape(
        lambda e, x: e.context(x), encoder, jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return TaskHead(
        width, num_classes, hidden=hidden, rngs=nnx.Rngs(0),
        context=jax.tree.map(lambda c: jnp.zeros(c.shape), context),
    )


def _last_mean(encoder: Encoder, signal: jax.Array) -> jax.Array:
    return encoder.activations(signal).outputs[-1]
