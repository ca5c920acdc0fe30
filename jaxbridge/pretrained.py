"""A trained bridge on disk, without the encoders that it joins.

    model.safetensors   bridge, head and the head's kept context
    config.json         sizes, position, both encoders' configurations and weight hashes, classes,
                        preprocessing, metrics, versions
    README.md           a card
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx

import model_ports as mp
from jaxbridge.bridge import PrototypeBridge
from jaxbridge.bridge_card import bridge_card
from jaxbridge.bridged_model import BridgedModel, Position
from jaxbridge.head import TaskHead
from jaxbridge.recorded_parts import (
    WEIGHTS,
    check_encoder,
    fill_leaves,
    leaves_of,
    recorded_encoder,
)
from jaxbridge.run_folder import versions
from model_ports import Encoder
from model_ports.errors import InputError
from model_ports.representations import DrawnSignals, drawn_signals
from model_ports.whole_folder import check_replaceable, has_format, whole_folder

FORMAT = "jaxbridge-bridge-1"


def save_pretrained(
    model: BridgedModel, path: str | pathlib.Path, *, class_names: Sequence[str],
    signal_shapes: tuple[Sequence[int], Sequence[int]],
    modalities: tuple[str, str] = ("new", "old"),
    preprocessing: Mapping[str, Any] | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes bridge and head into the folder `path`, which must not exist or be one of ours.

    Args:
        model: the bridged model.
        path: the folder.
        class_names: a name per logit.
        signal_shapes: shape of one window of the new and of the old signal, no batch axis.
        modalities: names of the new and of the old signal.
        preprocessing: how windows are made from recordings, JSON-able, such as a window store's
            metadata.
        metrics: rows of a results table.

    Raises:
        InputError: class names that do not fit, or a folder that holds something else or cannot be
            written.
    """
    path, bridge, head = pathlib.Path(path), model.bridge, model.head
    if len(class_names) != head.num_classes:
        raise InputError(f"{len(class_names)} class names for {head.num_classes} classes.")
    check_replaceable(path, "bridge", FORMAT, ("README.md", "config.json", WEIGHTS))
    rank, num_prototypes = bridge.low_rank_a.shape[1], bridge.prototypes.shape[0]
    arrays = {name: np.asarray(leaf[...]) for name, leaf in leaves_of(bridge=bridge, head=head).items()}
    config = {
        "format": FORMAT,
        "position": list(model.position),
        "pool": model.pool,
        "bridge": {
            "in_features": bridge.low_rank_a.shape[0], "tokens": bridge.tokens,
            "features": bridge.features, "rank": rank, "num_prototypes": num_prototypes,
            "layout": bridge.layout,
        },
        "head": {
            "features": head.layers[0].in_features, "num_classes": head.num_classes,
            "hidden": head.layers[0].out_features if len(head.layers) == 2 else None,
        },
        **{
            side: {
                "modality": modality, "signal_shape": list(shape),
                **recorded_encoder(encoder),
            }
            for side, encoder, modality, shape in zip(
                ("new", "old"), (model.new, model.old), modalities, signal_shapes, strict=True
            )
        },
        "class_names": list(class_names),
        "preprocessing": dict(preprocessing or {}),
        "metrics": [dict(row) for row in metrics],
        "versions": versions(),
        "arrays": {name: list(array.shape) for name, array in sorted(arrays.items())},
    }
    config = json.loads(json.dumps(config))
    with whole_folder(path, "the bridge") as aside:
        safetensors.numpy.save_file(arrays, aside / WEIGHTS)
        (aside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        (aside / "README.md").write_text(bridge_card(config, model.old.num_layers))


def pretrained_config(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the config.json of a folder that `save_pretrained` wrote.

    Raises:
        InputError: not such a folder.
    """
    path = pathlib.Path(path)
    if not has_format(path, FORMAT):
        raise InputError(f"{path} is not a saved bridge (a folder with config.json of ours).")
    return json.loads((path / "config.json").read_text())


def from_pretrained(
    path: str | pathlib.Path, *, old: Encoder | str | pathlib.Path,
    new: Encoder | str | pathlib.Path,
) -> BridgedModel:
    """Returns the bridged model that `save_pretrained` wrote the bridge of.

    Args:
        path: the folder.
        old, new: the encoders, or folders that `model_ports.save` wrote. Their compute type may
            differ from the one the bridge was trained with, nothing else. An encoder of pictures
            draws its signals as in the training.

    Raises:
        InputError: not such a folder, missing or truncated files, or other encoders.
    """
    path, config = pathlib.Path(path), pretrained_config(path)
    try:
        new, old = (_encoder(given, config[side], side, path)
                    for given, side in ((new, "new"), (old, "old")))
        signal = jax.ShapeDtypeStruct((1, *config["old"]["signal_shape"]), jnp.float32)
        context = jax.eval_shape(lambda e, x: e.context(x), old, signal)
        bridge = PrototypeBridge(**config["bridge"], rngs=nnx.Rngs(0))
        head = TaskHead(
            **config["head"], rngs=nnx.Rngs(0),
            context=jax.tree.map(lambda c: jnp.zeros(c.shape, c.dtype), context),
        )
        position, pool = Position(*config["position"]), config["pool"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path / 'config.json'} is damaged ({type(error).__name__}: {error}); copy it again."
        ) from None
    fill_leaves(path, leaves_of(bridge=bridge, head=head))
    return BridgedModel(new, old, bridge, head, position, pool=pool)


def _encoder(
    given: Encoder | str | pathlib.Path, wanted: Mapping[str, Any], side: str, path: pathlib.Path
) -> Encoder:
    encoder = given if isinstance(given, Encoder) else mp.load(given)
    drawn_as = wanted["config"].get("drawn_as")
    if drawn_as is not None and not isinstance(encoder, DrawnSignals):
        name = wanted["config"]["name"].removeprefix(f"{wanted['config']['encoder']['name']}_")
        encoder = drawn_signals(encoder, name, **drawn_as)
    check_encoder(encoder, wanted, f"{side} ", path)
    return encoder
