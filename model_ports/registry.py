"""Encoders by name: random, from published entries, or as saved by us."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports.encoder import Encoder, EncoderConfig
from model_ports.errors import InputError
from model_ports.parameters import fill, parameter_shapes
from model_ports.port import Port

_MODULES = {
    "ecg_dualnet": "model_ports.ecg_dualnet",
    "ecg_fm": "model_ports.ecg_fm",
    "hubert_ecg_base": "model_ports.hubert_ecg",
    "hubert_ecg_large": "model_ports.hubert_ecg",
    "hubert_ecg_small": "model_ports.hubert_ecg",
    "labram": "model_ports.labram",
    "normwear": "model_ports.normwear",
    "papagei": "model_ports.papagei",
    "tiny_biomoe": "model_ports.tiny_biomoe",
}


def available() -> tuple[str, ...]:
    """Returns the names of the encoders."""
    return tuple(sorted(_MODULES))


def port(name: str) -> Port:
    """Returns the port of that name; an unknown name is an `InputError`."""
    if name not in _MODULES:
        raise InputError(f"there is no encoder {name!r}; there are {', '.join(available())}.")
    ports = importlib.import_module(_MODULES[name]).PORTS
    return next(p for p in ports if p.name == name)


def create(name: str, *, rngs: nnx.Rngs, **config_overrides: Any) -> Encoder:
    """Returns an encoder with random weights, initialised as the published code does.

    Raises:
        InputError: unknown name, or an override that the configuration does not have.
    """
    found = port(name)
    return found.module(found.config.override(**config_overrides), rngs=rngs)


def abstract(
    name: str, config: EncoderConfig | None = None, /, **config_overrides: Any
) -> Encoder:
    """Returns the encoder with shapes in place of weights, which takes no memory.

    It goes wherever shapes are enough: `jax.eval_shape`, `jax.jit(...).lower`, `partition_specs`.

    Args:
        name: one of `available()`.
        config: a whole configuration, in place of the published one.
        **config_overrides: as for `create`.

    Raises:
        InputError: unknown name, or an override that the configuration does not have.
    """
    found = port(name)
    config = (config or found.config).override(**config_overrides)
    return nnx.eval_shape(lambda: found.module(config, rngs=nnx.Rngs(0)))


def from_state_dict(
    name: str, state_dict: Mapping[str, np.ndarray], **config_overrides: Any
) -> Encoder:
    """Returns the encoder that a published state dict describes.

    Args:
        name: one of `available()`.
        state_dict: published entry names -> arrays.
        **config_overrides: configuration fields that the entries do not tell.

    Raises:
        InputError: entries are missing, unexpected or mis-shaped; all are named with both shapes.
    """
    return read_state_dict(name, state_dict, **config_overrides)[0]


def read_state_dict(
    name: str, state_dict: Mapping[str, np.ndarray], **config_overrides: Any
) -> tuple[Encoder, sd.Coverage]:
    """As `from_state_dict`, with an account of which entries were used."""
    found = port(name)
    state_dict = found.canonical(state_dict)
    shapes = {key: tuple(np.shape(value)) for key, value in state_dict.items()}
    config = found.infer(found.config.override(**config_overrides), shapes)
    target = abstract(name, config)
    arrays, coverage = sd.convert(
        state_dict, found.entries(config), parameter_shapes(target), found.ignored, name
    )
    return fill(target, arrays), coverage
