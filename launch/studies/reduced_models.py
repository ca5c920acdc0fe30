"""Encoders of the published layout at reduced size, which a CPU trains in seconds, and how."""

from collections.abc import Sequence

from flax import nnx

import model_ports as mp
from jaxbridge import BridgeSettings, HeadSettings

HEAD = HeadSettings(unfrozen=True, learning_rate=5e-4, epochs=6, batch_size=32)
BRIDGE = BridgeSettings(rank=8, num_prototypes=20, learning_rate=3e-3, epochs=40, batch_size=16)


def labram(seed: int, leads: Sequence[str], dtype: str = "float32") -> mp.Encoder:
    """Returns a LaBraM of 3 layers with random weights."""
    return mp.create(
        "labram", rngs=nnx.Rngs(seed), leads=tuple(leads), depth=3, mlp_features=400, dtype=dtype
    )


def hubert_ecg(seed: int, dtype: str = "float32") -> mp.Encoder:
    """Returns a HuBERT-ECG of 4 layers of 256 features with random weights."""
    return mp.create(
        "hubert_ecg_small", rngs=nnx.Rngs(1000 + seed), depth=4, features=256, num_heads=4,
        mlp_features=1024, conv_channels=(256,) * 5, position_kernel=32, position_groups=4,
        dtype=dtype,
    )
