"""Biosignal encoders in Flax NNX, converted from their published PyTorch weights."""

from model_ports.encoder import Activations, Encoder, EncoderConfig
from model_ports.errors import InputError
from model_ports.parameters import weights_hash
from model_ports.registry import available, create, from_state_dict
from model_ports.saving import load, save

__all__ = [
    "Activations",
    "Encoder",
    "EncoderConfig",
    "InputError",
    "available",
    "create",
    "from_state_dict",
    "load",
    "save",
    "weights_hash",
]
