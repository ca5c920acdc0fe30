"""The six published directions of BioX-Bridge (arXiv 2510.02276), as its released scripts run them.

Beside them its study of other ECG encoders, and both directions of eegmat, which is no study of the
paper. `direction(name)` finds all of them; what is to be reproduced too is added to one of the tables
here, and its data set to `launch.published.data_sets`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

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


class Scores(NamedTuple):
    """What the paper reports of a method, in percent; None where it does not.

    Attributes:
        method: its name there.
        balanced_accuracy, f1_macro, f1_weighted: on test subjects.
        parameters: trained ones, as rounded there.
    """

    method: str
    balanced_accuracy: float
    f1_macro: float | None = None
    f1_weighted: float | None = None
    parameters: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """The paper's results of a direction.

    Attributes:
        bridge: BioX-Bridge.
        baseline: the best of its baselines.
        teacher: the supervised old modality.
    """

    bridge: Scores
    baseline: Scores
    teacher: Scores | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """One transfer from an old to a new modality.

    Attributes:
        name: as published; "ppg2ecg" has PPG as the old modality and ECG as the new one.
        dataset: in `launch.published.data_sets`.
        old, new: encoders by name.
        old_signal, new_signal: shape of one window as the encoder takes it.
        num_classes: of the task.
        position: what the released script bridges, see `Position`; None: to be scanned for.
        head: how the old modality's head is fitted.
        bridge: how the bridge is trained.
        split: the paper's split rule where it is not the data set's.
        published: the paper's results, None where it reports none.
    """

    name: str
    dataset: str
    old: str
    new: str
    old_signal: tuple[int, ...]
    new_signal: tuple[int, ...]
    num_classes: int
    position: Position | None
    head: HeadSettings
    bridge: BridgeSettings
    split: str | None = None
    published: Published | None = None

    @property
    def modalities(self) -> tuple[str, str]:
        """Names of the old and of the new modality."""
        old, _, new = self.name.split("_")[1].partition("2")
        return old, new

    @property
    def encoders(self) -> dict[str, str]:
        """Modality -> encoder."""
        return dict(zip(self.modalities, (self.old, self.new), strict=True))

    @property
    def options(self) -> Mapping[str, Any]:
        """What the data set's reader is told."""
        return {"classes": self.num_classes} if self.dataset in ("wesad", "isruc") else {}


def _head(learning_rate: float, **settings) -> HeadSettings:
    return HeadSettings(learning_rate=learning_rate, standardise=False, **settings)


def _inverse(*counts: int) -> tuple[float, ...]:
    """Weights of classes, from the counts that the released scripts name."""
    return tuple(1 / count for count in counts)


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
            name="wesad_ppg2ecg", dataset="wesad", old="papagei",
            new="hubert_ecg_small", old_signal=_PPG, new_signal=_WESAD_ECG, num_classes=3,
            position=Position(7, 11),
            head=_head(1e-4, epochs=50, batch_size=32, unfrozen=True, balance=False, dropout=0.5),
            bridge=_bridge(32, 50, 1e-4, 50),
            published=Published(
                bridge=Scores("BioX-Bridge", 52.02, 52.62, 65.12, "0.4M"),
                baseline=Scores("KD-Contrast", 50.85, 49.31, 63.72, "30.4M"),
            ),
        ),
        Direction(
            name="wesad_ecg2ppg", dataset="wesad", old="hubert_ecg_small", new="papagei",
            old_signal=_WESAD_ECG, new_signal=_PPG, num_classes=3, position=Position(4, 2),
            head=_head(1e-5, epochs=50, batch_size=32, class_weights=_inverse(1112, 607, 312)),
            bridge=_bridge(8, 150, 1e-6, 100),
        ),
        Direction(
            name="isruc_eeg2ecg", dataset="isruc", old="labram", new="hubert_ecg_small",
            old_signal=_ISRUC_EEG, new_signal=_ISRUC_ECG, num_classes=2, position=Position(7, 2),
            head=_head(5e-4, epochs=50, batch_size=64, class_weights=_inverse(4687, 14550)),
            bridge=_bridge(32, 300, 1e-5, 50),
            published=Published(
                bridge=Scores("BioX-Bridge", 60.11, 61.20, 74.02, "1.8M"),
                baseline=Scores("KD", 60.24, 61.01, 72.96, "30.4M"),
                teacher=Scores("supervised EEG", 63.54),
            ),
        ),
        Direction(
            name="isruc_ecg2eeg", dataset="isruc", old="hubert_ecg_small", new="labram",
            old_signal=_ISRUC_ECG, new_signal=_ISRUC_EEG, num_classes=2, position=Position(11, 0),
            head=_head(1e-4, epochs=50, batch_size=64, class_weights=_inverse(4687, 14550)),
            bridge=_bridge(4, 200, 1e-4, 50),
            published=Published(
                bridge=Scores("BioX-Bridge", 62.55, 64.37, 76.42, "0.2M"),
                baseline=Scores("KD-Contrast", 65.92, 62.91, 70.27, "5.8M"),
            ),
        ),
        Direction(
            name="fog_eeg2emg", dataset="fog", old="labram", new="normwear", old_signal=_FOG_EEG,
            new_signal=_FOG_EMG, num_classes=2, position=Position(3, 11), split="paper",
            head=_head(1e-2, epochs=500, batch_size=64, balance=False),
            bridge=_bridge(256, 200, 1e-5, 100, "info_nce"),
            published=Published(
                bridge=Scores("BioX-Bridge", 72.24, 72.12, 72.16, "1.2M"),
                baseline=Scores("KD-Contrast", 72.21, 71.95, 71.95, "136.1M"),
            ),
        ),
        Direction(
            name="fog_emg2eeg", dataset="fog", old="normwear", new="labram", old_signal=_FOG_EMG,
            new_signal=_FOG_EEG, num_classes=2, position=Position(6, 10), split="paper",
            head=_head(1e-4, epochs=100, batch_size=16, unfrozen=True, balance=False),
            bridge=_bridge(8, 50, 1e-4, 100),
        ),
    )
}

# ECG encoder -> its window, from that of HuBERT-ECG small: (samples at 100 Hz,). ECG-DualNet's
# position tables fit 60 s only.
_ECG_ENCODERS = {
    "hubert_ecg_base": lambda samples: (samples,),
    "hubert_ecg_large": lambda samples: (samples,),
    "ecg_fm": lambda samples: (12, 5 * samples),
    "ecg_dualnet": lambda samples: (1, 3 * samples),
}
_VARIANTS_PUBLISHED = {
    "wesad_ppg2ecg_ecg_fm": Published(
        bridge=Scores("BioX-Bridge", 58.80, 57.11, 72.12, "0.11M"),
        baseline=Scores("KD", 48.44, 45.84, 54.18, "90.8M"),
    ),
}


def _variants() -> dict[str, Direction]:
    """Directions with another ECG encoder; where their bridges sit is not published."""
    found = {}
    for base in DIRECTIONS.values():
        sides = [side for side in ("old", "new") if getattr(base, side) == "hubert_ecg_small"]
        for side in sides:
            (samples,) = getattr(base, f"{side}_signal")
            for encoder, signal in _ECG_ENCODERS.items():
                if encoder == "ecg_dualnet" and base.dataset != "wesad":
                    continue
                name = f"{base.name}_{encoder}"
                found[name] = dataclasses.replace(
                    base, name=name, position=None, published=_VARIANTS_PUBLISHED.get(name),
                    **{side: encoder, f"{side}_signal": signal(samples)},
                )
    return found


# The six with ECG-FM, HuBERT-ECG base or large, or ECG-DualNet: "wesad_ppg2ecg_ecg_fm", ...
VARIANTS = _variants()

# No study of the paper: 24 people at rest and in mental arithmetic, see `jaxbridge.data.eegmat`.
_EEGMAT_EEG, _EEGMAT_ECG = (6, 10, 200), (1000,)
_EEGMAT_HEAD = HeadSettings(epochs=200, learning_rate=1e-3, batch_size=32)
_EEGMAT_BRIDGE = BridgeSettings(rank=32, num_prototypes=50, learning_rate=1e-3, epochs=50)
EEGMAT = {
    direction.name: direction
    for direction in (
        Direction(
            name="eegmat_eeg2ecg", dataset="eegmat", old="labram", new="hubert_ecg_small",
            old_signal=_EEGMAT_EEG, new_signal=_EEGMAT_ECG, num_classes=2, position=None,
            head=_EEGMAT_HEAD, bridge=_EEGMAT_BRIDGE,
        ),
        Direction(
            name="eegmat_ecg2eeg", dataset="eegmat", old="hubert_ecg_small", new="labram",
            old_signal=_EEGMAT_ECG, new_signal=_EEGMAT_EEG, num_classes=2, position=None,
            head=_EEGMAT_HEAD, bridge=_EEGMAT_BRIDGE,
        ),
    )
}

ALL = {**DIRECTIONS, **VARIANTS, **EEGMAT}


def direction(name: str) -> Direction:
    """Returns a direction.

    Raises:
        InputError: there is none of that name.
    """
    if name not in ALL:
        raise InputError(f"there is no direction {name!r}; there are {', '.join(ALL)}.")
    return ALL[name]


def placed(name: str) -> Direction:
    """Returns a direction with a position: a variant's is the middle of the new encoder's layers.

    Raises:
        InputError: there is none of that name, or none of its kind is published.
    """
    chosen = direction(name)
    if chosen.position is not None:
        return chosen
    if name not in VARIANTS:
        raise InputError(f"no position is published for {name}; there are {', '.join(VARIANTS)}.")
    base = next(base for base in DIRECTIONS.values() if name.startswith(base.name))
    if chosen.new == base.new:
        raise InputError(f"{name} has another old encoder: give a variant whose new one is another.")
    middle = mp.abstract(chosen.new).num_layers // 2
    return dataclasses.replace(chosen, position=Position(middle, base.position.l))


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
