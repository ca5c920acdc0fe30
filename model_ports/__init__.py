"""Biosignal encoders in Flax NNX, converted from their published PyTorch weights."""

from model_ports.checkpoint import Coverage, from_checkpoint, read_checkpoint
from model_ports.collapse import CollapseWarning, check_collapse
from model_ports.encoder import Activations, Encoder, EncoderConfig
from model_ports.errors import InputError
from model_ports.parameters import weights_hash
from model_ports.pretrained import from_pretrained
from model_ports.registry import abstract, available, create, from_state_dict
from model_ports.saving import load, save
from model_ports.sharding import partition_specs, shard
from model_ports.sources import PublishedFile, Source, sources

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
