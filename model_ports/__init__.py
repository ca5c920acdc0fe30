"""Biosignal encoders in Flax NNX, converted from their published PyTorch weights."""

import importlib
import typing

from model_ports.errors import InputError
from model_ports.sources import PublishedFile, Source, sources

if typing.TYPE_CHECKING:
    from model_ports.checkpoint import Coverage, from_checkpoint, read_checkpoint
    from model_ports.collapse import CollapseWarning, check_collapse
    from model_ports.encoder import Activations, Encoder, EncoderConfig
    from model_ports.parameters import weights_hash
    from model_ports.pretrained import from_pretrained
    from model_ports.registry import abstract, available, create, from_state_dict
    from model_ports.saving import load, save
    from model_ports.sharding import partition_specs, shard

__all__ = [
    "Activations",
    "CollapseWarning",
    "Coverage",
    "Encoder",
    "EncoderConfig",
    "InputError",
    "PublishedFile",
    "Source",
    "abstract",
    "available",
    "check_collapse",
    "create",
    "from_checkpoint",
    "from_pretrained",
    "from_state_dict",
    "load",
    "partition_specs",
    "read_checkpoint",
    "save",
    "shard",
    "sources",
    "weights_hash",
]

# Imported when asked for: host work on recordings needs `InputError` and lead names, not JAX.
_HOMES = {
    "Activations": "model_ports.encoder",
    "CollapseWarning": "model_ports.collapse",
    "Coverage": "model_ports.checkpoint",
    "Encoder": "model_ports.encoder",
    "EncoderConfig": "model_ports.encoder",
    "abstract": "model_ports.registry",
    "available": "model_ports.registry",
    "check_collapse": "model_ports.collapse",
    "create": "model_ports.registry",
    "from_checkpoint": "model_ports.checkpoint",
    "from_pretrained": "model_ports.pretrained",
    "from_state_dict": "model_ports.registry",
    "load": "model_ports.saving",
    "partition_specs": "model_ports.sharding",
    "read_checkpoint": "model_ports.checkpoint",
    "save": "model_ports.saving",
    "shard": "model_ports.sharding",
    "weights_hash": "model_ports.parameters",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
