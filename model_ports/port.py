"""What a model file tells the registry about one published encoder."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model_ports.encoder import Encoder, EncoderConfig
from model_ports.state_dict import Entry, Shape


def _as_it_is(state_dict: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    return state_dict


def _nothing_to_infer(config: EncoderConfig, shapes: Mapping[str, Shape]) -> EncoderConfig:
    del shapes
    return config


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
    """

    name: str
    module: Callable[..., Encoder]
    config: EncoderConfig
    entries: Callable[[EncoderConfig], Sequence[Entry]]
    infer: Callable[[EncoderConfig, Mapping[str, Shape]], EncoderConfig] = _nothing_to_infer
    ignored: tuple[str, ...] = ()
    canonical: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = _as_it_is
