"""What saved bridges and heads share: arrays beside a configuration, and the encoder they belong to."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import safetensors.numpy
from flax import nnx
from safetensors import SafetensorError

import model_ports as mp
from model_ports import Encoder
from model_ports.errors import InputError

WEIGHTS = "model.safetensors"


def leaves_of(**modules: nnx.Module) -> dict[str, nnx.Variable]:
    """Returns the arrays of modules by path, such as "head.layers.0.kernel"."""
    state = nnx.state(nnx.Dict(**modules))
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def fill_leaves(path: pathlib.Path, leaves: Mapping[str, nnx.Variable]) -> None:
    """Reads the arrays in the folder `path` into leaves.

    Raises:
        InputError: a missing or truncated file, or arrays of other names or shapes.
    """
    try:
        arrays = safetensors.numpy.load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path / WEIGHTS} cannot be read ({error}); copy it again.") from None
    differing = sorted(
        f"  {name}: file {getattr(arrays.get(name), 'shape', 'nothing')}, "
        f"configuration {getattr(leaves.get(name), 'shape', 'nothing')}"
        for name in set(arrays) | set(leaves)
        if name not in arrays or name not in leaves or arrays[name].shape != leaves[name].shape
    )
    if differing:
        raise InputError(f"{path} does not fit its configuration:\n" + "\n".join(differing))
    for name, leaf in leaves.items():
        leaf.set_value(jnp.asarray(arrays[name]))


def recorded_encoder(encoder: Encoder) -> dict[str, Any]:
    """Returns what tells an encoder from others, JSON-able."""
    return {
        "config": dataclasses.asdict(encoder.config), "weights_hash": mp.weights_hash(encoder)
    }


def check_encoder(
    encoder: Encoder, wanted: Mapping[str, Any], side: str, path: pathlib.Path
) -> None:
    """Refuses an encoder that is not the recorded one; its compute type may differ.

    Args:
        encoder: what is given.
        wanted: what `recorded_encoder` returned.
        side: which one, for the message, such as "old ".
        path: the folder that records it, for the message.

    Raises:
        InputError: another configuration or other weights.
    """
    is_config = json.loads(json.dumps(dataclasses.asdict(encoder.config)))
    was, now = _without_dtype(wanted["config"]), _without_dtype(is_config)
    different = sorted(
        f"  {key}: {was.get(key)!r} there, {now.get(key)!r} given"
        for key in was.keys() | now.keys() if was.get(key) != now.get(key)
    )
    if different:
        raise InputError(
            f"{path} was trained with another {side}encoder:\n" + "\n".join(different)
        )
    if (digest := mp.weights_hash(encoder)) != wanted["weights_hash"]:
        raise InputError(
            f"{path} was trained with other weights of the {side}encoder {wanted['config']['name']}: "
            f"their hash is {wanted['weights_hash']}, that of the given ones {digest}."
        )


def _without_dtype(config: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder's configuration but for compute types, also that of the encoder that it wraps."""
    return {
        key: _without_dtype(value) if isinstance(value, Mapping) else value
        for key, value in config.items() if key != "dtype"
    }
