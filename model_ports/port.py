"""What a model file tells the registry about one published encoder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from model_ports.encoder import Encoder, EncoderConfig
from model_ports.state_dict import Entry, Shape


def _as_it_is(state_dict: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    return state_dict


def _nothing_to_infer(config: EncoderConfig, shapes: Mapping[str, Shape]) -> EncoderConfig:
    del shapes
    return config


def _nothing_to_read(file_config: Mapping[str, Any]) -> dict[str, Any]:
    del file_config
    return {}


@dataclasses.dataclass(frozen=True)
class Prefix:
    """A prefix under which some published files keep the encoder; it is cut off the names.

    Attributes:
        text: the prefix.
        sign: names starting with this show that the file is such a one; None for `text` itself.
        beside: regular expressions of names outside the prefix that may be there.
        within: regular expressions of names under it (without it) that may be there and that the
            encoder does not have.
        initial: entries that such files lack -> the value that the published code initialises
            them with and the reading keeps.
    """

    text: str
    sign: str | None = None
    beside: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    initial: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Port:
    """One published encoder.

    Attributes:
        name: its name in the registry.
        module: class, built as `module(config, rngs=...)`.
        config: the published configuration.
        entries: configuration -> name map from the published state dict.
        infer: (configuration, shapes of the state dict) -> configuration as the file says.
        ignored: regular expressions of published names that may be there and are not used.
        canonical: renames other spellings of the published names.
        prefixes: where published files keep the encoder under a prefix.
        overrides: configuration stored in a published file, as plain values -> configuration
            fields that it sets.
        needed: configuration fields that no tensor shape tells -> how a file states them; reading
            a file without them warns.
        inert_types: regular expressions of qualified class names whose pickled objects are read
            as plain records, without importing or running anything.
    """

    name: str
    module: Callable[..., Encoder]
    config: EncoderConfig
    entries: Callable[[EncoderConfig], Sequence[Entry]]
    infer: Callable[[EncoderConfig, Mapping[str, Shape]], EncoderConfig] = _nothing_to_infer
    ignored: tuple[str, ...] = ()
    canonical: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = _as_it_is
    prefixes: tuple[Prefix, ...] = ()
    overrides: Callable[[Mapping[str, Any]], dict[str, Any]] = _nothing_to_read
    needed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inert_types: tuple[str, ...] = ()
