"""The six published directions of BioX-Bridge (arXiv 2510.02276), as its released scripts run them."""

import dataclasses

from flax import nnx

import model_ports as mp
from jaxbridge import (
    BridgedModel,
    BridgeSettings,
    HeadSettings,
    Position,
    PrototypeBridge,
    TaskHead,
)
from jaxbridge.training.bridging import new_bridge
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """One published transfer from an old to a new modality.

    Attributes:
        name: as published; "ppg2ecg" has PPG as the old modality and ECG as the new one.
        old, new: encoders by name.
        old_signal, new_signal: shape of one window as the encoder takes it.
        num_classes: of the task.
        position: what the released script bridges, see `Position`.
        head: how the old modality's head is fitted.
        bridge: how the bridge is trained.
    """

    name: str
    old: str
    new: str
    old_signal: tuple[int, ...]
    new_signal: tuple[int, ...]
    num_classes: int
    position: Position
    head: HeadSettings
    bridge: BridgeSettings


def _head(learning_rate: float, **settings) -> HeadSettings:
    return HeadSettings(learning_rate=learning_rate, standardise=False, **settings)


def _bridge(
    rank: int, num_prototypes: int, learning_rate: float, epochs: int, loss: str = "cosine"
) -> BridgeSettings:
    return BridgeSettings(
        rank=rank, num_prototypes=num_prototypes, learning_rate=learning_rate, epochs=epochs,
        loss=loss, batch_size=16,
    )


# Windows: WESAD 60 s (PPG 125 Hz, ECG 100 Hz), ISRUC 30 s and FOG 3 s (EEG 6 leads at 200 Hz, ECG
# 100 Hz, EMG 3 channels at 130 Hz).
_PPG, _WESAD_ECG = (1, 7500), (6000,)
_ISRUC_EEG, _ISRUC_ECG = (6, 30, 200), (3000,)
_FOG_EEG, _FOG_EMG = (6, 3, 200), (3, 390)

DIRECTIONS = {
    direction.name: direction
    for direction in (
        Direction(
            name="wesad_ppg2ecg", old="papagei", new="hubert_ecg_small", old_signal=_PPG,
            new_signal=_WESAD_ECG, num_classes=3, position=Position(7, 11),
            head=_head(1e-4, epochs=50, batch_size=32, unfrozen=True, balance=False),
            bridge=_bridge(32, 50, 1e-4, 50),
        ),
        Direction(
            name="wesad_ecg2ppg", old="hubert_ecg_small", new="papagei", old_signal=_WESAD_ECG,
            new_signal=_PPG, num_classes=3, position=Position(4, 2),
            head=_head(1e-5, epochs=50, batch_size=32),
            bridge=_bridge(8, 150, 1e-6, 100),
        ),
        Direction(
            name="isruc_eeg2ecg", old="labram", new="hubert_ecg_small", old_signal=_ISRUC_EEG,
            new_signal=_ISRUC_ECG, num_classes=2, position=Position(7, 2),
            head=_head(5e-4, epochs=50, batch_size=64),
            bridge=_bridge(32, 300, 1e-5, 50),
        ),
        Direction(
            name="isruc_ecg2eeg", old="hubert_ecg_small", new="labram", old_signal=_ISRUC_ECG,
            new_signal=_ISRUC_EEG, num_classes=2, position=Position(11, 0),
            head=_head(1e-4, epochs=50, batch_size=64),
            bridge=_bridge(4, 200, 1e-4, 50),
        ),
        Direction(
            name="fog_eeg2emg", old="labram", new="normwear", old_signal=_FOG_EEG,
            new_signal=_FOG_EMG, num_classes=2, position=Position(3, 11),
            head=_head(1e-2, epochs=500, batch_size=64, balance=False),
            bridge=_bridge(256, 200, 1e-5, 100, "info_nce"),
        ),
        Direction(
            name="fog_emg2eeg", old="normwear", new="labram", old_signal=_FOG_EMG,
            new_signal=_FOG_EEG, num_classes=2, position=Position(6, 10),
            head=_head(1e-4, epochs=100, batch_size=16, unfrozen=True, balance=False),
            bridge=_bridge(8, 50, 1e-4, 100),
        ),
    )
}


def direction(name: str) -> Direction:
    """Returns a published direction.

    Raises:
        InputError: there is none of that name.
    """
    if name not in DIRECTIONS:
        raise InputError(f"there is no direction {name!r}; there are {', '.join(DIRECTIONS)}.")
    return DIRECTIONS[name]


def untrained_bridge(
    direction: Direction, old: mp.Encoder, new: mp.Encoder, *, seed: int
) -> PrototypeBridge:
    """Returns the direction's bridge with initial values from `seed`."""
    shapes = (1, *direction.new_signal), (1, *direction.old_signal)
    return new_bridge(new, old, direction.position, shapes, direction.bridge, seed=seed)


def untrained_model(
    direction: Direction, old: mp.Encoder, new: mp.Encoder, *, seed: int
) -> BridgedModel:
    """Returns the direction's bridged model with an untrained bridge and head."""
    _, features = old.layer_shape(old.num_layers, (1, *direction.old_signal))
    head = TaskHead(features, direction.num_classes, rngs=nnx.Rngs(seed))
    bridge = untrained_bridge(direction, old, new, seed=seed)
    return BridgedModel(new, old, bridge, head, direction.position, pool=direction.bridge.pool)
