"""Encoders on disk: model.safetensors, config.json and a model card; no PyTorch needed."""

import dataclasses
import json
import pathlib
from typing import Any

import safetensors.numpy
from safetensors import SafetensorError

from model_ports import registry
from model_ports.encoder import Encoder
from model_ports.errors import InputError
from model_ports.model_card import model_card
from model_ports.parameters import fill, parameter_shapes, parameters, weights_hash
from model_ports.representations.drawn_signals import DrawnSignals
from model_ports.whole_folder import check_replaceable, has_format, whole_folder

_FORMAT = "jaxbridge-encoder-1"
_FILES = ("README.md", "config.json", "model.safetensors")


def save(encoder: Encoder, path: str | pathlib.Path, *, origin: str | None = None) -> None:
    """Writes the encoder into the folder `path`, which must not exist or be one of ours.

    Args:
        encoder: what to write; of an encoder of pictures that draws its signals, that of pictures.
        path: the folder.
        origin: where the weights come from, for the model card (README.md).

    Raises:
        InputError: the folder cannot be written or holds something else.
    """
    if isinstance(encoder, DrawnSignals):
        encoder = encoder.encoder
    path = pathlib.Path(path)
    check_folder(path)
    digest = weights_hash(encoder)
    config = {
        "format": _FORMAT,
        "weights_hash": digest,
        "config": dataclasses.asdict(encoder.config),
    }
    with whole_folder(path, "the encoder") as aside:
        safetensors.numpy.save_file(parameters(encoder), aside / "model.safetensors")
        (aside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        (aside / "README.md").write_text(model_card(encoder, digest, origin))


def check_folder(path: str | pathlib.Path) -> None:
    """Refuses a folder for `save` in which something would be lost that `save` did not write.

    Raises:
        InputError: as above.
    """
    check_replaceable(path, "encoder", _FORMAT, _FILES)


def is_saved(path: str | pathlib.Path) -> bool:
    """Tells whether `path` is a folder that `save` wrote."""
    return has_format(path, _FORMAT)


def load(path: str | pathlib.Path, **config_overrides: Any) -> Encoder:
    """Reads an encoder that `save` wrote.

    Args:
        path: the folder.
        **config_overrides: configuration fields to replace, such as `dtype` or `leads`.

    Raises:
        InputError: not such a folder, a truncated file, or weights that differ from the recorded
            hash or the configuration's shapes.
    """
    path = pathlib.Path(path)
    if not is_saved(path):
        raise InputError(
            f"{path} is not a saved encoder (a folder with config.json of ours). Published files are "
            "read by model_ports.from_checkpoint, or converted by launch.convert."
        )
    stored = json.loads((path / "config.json").read_text())
    config = registry.port(stored["config"]["name"]).config.override(**stored["config"])
    target = registry.abstract(config.name, config.override(**config_overrides))
    try:
        arrays = safetensors.numpy.load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path / 'model.safetensors'} cannot be read ({error}); copy or convert it again."
        ) from None
    shapes = parameter_shapes(target)
    differing = sorted(
        f"  {name}: file {getattr(arrays.get(name), 'shape', 'nothing')}, "
        f"configuration {shapes.get(name, 'nothing')}"
        for name in set(arrays) | set(shapes)
        if name not in arrays or arrays[name].shape != shapes.get(name)
    )
    if differing:
        raise InputError(f"{path} does not fit its configuration:\n" + "\n".join(differing))
    encoder = fill(target, arrays)
    if weights_hash(encoder) != stored["weights_hash"]:
        raise InputError(f"the weights in {path} were changed after saving; convert them again.")
    return encoder
