"""A task head on disk, with the encoder where that was trained too.

    model.safetensors   the head and its kept context
    config.json         sizes, settings, the encoder's configuration and weight hash, classes,
                        preprocessing, metrics, versions
    encoder/            the trained encoder, as `model_ports.save` writes it; else absent
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

import model_ports as mp
from jaxbridge.recorded_parts import (
    WEIGHTS,
    check_encoder,
    fill_leaves,
    leaves_of,
    recorded_encoder,
)
from jaxbridge.run_folder import versions
from jaxbridge.teacher import HeadSettings, Teacher
from jaxbridge.teacher_stage import untrained_head
from model_ports import Encoder
from model_ports.errors import InputError
from model_ports.representations import DrawnSignals, drawn_signals
from model_ports.whole_folder import check_replaceable, has_format, whole_folder

FORMAT = "jaxbridge-head-1"
_ENCODER = "encoder"


class SavedHead(NamedTuple):
    """What `load_head` returns.

    Attributes:
        teacher: the encoder, as trained, and the head.
        settings: how the head was fitted.
        class_names: a name per logit.
        modality: name of the signal that it reads.
        windows_hash: of the windows that it was fitted to.
        identity: SHA-256 of encoder and head, for a run's record.
    """

    teacher: Teacher
    settings: HeadSettings
    class_names: tuple[str, ...]
    modality: str
    windows_hash: str
    identity: str


def save_head(
    teacher: Teacher, start: Encoder, path: str | pathlib.Path, *, settings: HeadSettings,
    class_names: Sequence[str], modality: str, signal_shape: Sequence[int], windows_hash: str,
    preprocessing: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]],
) -> None:
    """Writes a head, and its encoder if that was trained, into the folder `path`.

    Args:
        teacher: encoder and head, fitted.
        start: the encoder that fitting started from.
        path: the folder; it must not exist or be one of ours.
        settings: how the head was fitted.
        class_names: a name per logit.
        modality: name of the signal.
        signal_shape: of one window.
        windows_hash: of the windows.
        preprocessing: how windows are made from recordings, JSON-able.
        metrics: rows of a results table.

    Raises:
        InputError: class names that do not fit; a folder that holds something else or cannot be
            written.
    """
    path, head = pathlib.Path(path), teacher.head
    if len(class_names) != head.num_classes:
        raise InputError(f"{len(class_names)} class names for {head.num_classes} classes.")
    check_replaceable(path, "head", FORMAT, ("config.json", WEIGHTS, _ENCODER))
    config = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "encoder": recorded_encoder(start),
        "trained_encoder": recorded_encoder(teacher.encoder) if settings.unfrozen else None,
        "modality": modality,
        "signal_shape": list(signal_shape),
        "class_names": list(class_names),
        "windows_hash": windows_hash,
        "preprocessing": dict(preprocessing),
        "metrics": [dict(row) for row in metrics],
        "versions": versions(),
    }
    config = json.loads(json.dumps(config))
    arrays = {name: np.asarray(leaf[...]) for name, leaf in leaves_of(head=head).items()}
    with whole_folder(path, "the head") as aside:
        safetensors.numpy.save_file(arrays, aside / WEIGHTS)
        (aside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        if settings.unfrozen:
            mp.save(teacher.encoder, aside / _ENCODER, origin="trained with a task head by jaxbridge")


def load_head(path: str | pathlib.Path, encoder: Encoder) -> SavedHead:
    """Reads what `save_head` wrote.

    Args:
        path: the folder.
        encoder: the one that the head was fitted to; where that was trained too, as it was before or
            as it is now.

    Raises:
        InputError: not such a folder, missing or truncated files, or another encoder.
    """
    path = pathlib.Path(path)
    if not has_format(path, FORMAT):
        raise InputError(f"{path} is not a saved head (a folder that launch.fit_head wrote).")
    try:
        config = json.loads((path / "config.json").read_text())
        settings = dict(config["settings"])
        if settings["class_weights"] is not None:
            settings["class_weights"] = tuple(settings["class_weights"])
        settings, trained = HeadSettings(**settings), config["trained_encoder"]
        if trained is None or mp.weights_hash(encoder) != trained["weights_hash"]:
            check_encoder(encoder, config["encoder"], "", path)
        if trained is not None:
            moved = mp.load(path / _ENCODER, dtype=encoder.config.dtype)
            if isinstance(encoder, DrawnSignals):
                moved = drawn_signals(moved, encoder.config.drawn_as)
            encoder = moved
            check_encoder(encoder, trained, "trained ", path)
        names = tuple(config["class_names"])
        head = untrained_head(encoder, config["signal_shape"], len(names), settings.hidden)
        found = SavedHead(
            Teacher(encoder, head), settings, names, config["modality"], config["windows_hash"], ""
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path / 'config.json'} is damaged ({type(error).__name__}: {error}); copy it again."
        ) from None
    fill_leaves(path, leaves_of(head=head))
    return found._replace(identity=mp.weights_hash(found.teacher))
