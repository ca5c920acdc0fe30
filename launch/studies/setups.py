"""What studies run on: simulated people, eegmat, and a miniature for a first look.

Encoders have the published layout at reduced size and random weights, so that every method, those
that train the whole new encoder included, can be fitted many times on a CPU.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from flax import nnx

import model_ports as mp
from jaxbridge import TransferSettings
from jaxbridge.data import simulation
from jaxbridge.data.preparation import prepare
from jaxbridge.studies import Setup
from launch.flags.dataset import (
    DATA,
    DATASET,
    described,
    eeg_leads,
    prepared,
    recordings_hash,
)
from launch.flags.given import refuse
from launch.studies.pretrained import pretrained
from launch.studies.reduced_models import BRIDGE, HEAD, hubert_ecg, labram
from model_ports.errors import InputError

DIRECTIONS = ("eeg2ecg", "ecg2eeg")
SIZES = ("small", "base", "large")
"""Of HuBERT-ECG, as published."""

# Best of --study=learning_rate --seeds=10, by the accuracy on people whom no comparison meets.
_RATES = {"eeg2ecg": {"KD": 3e-4, "KD-Contrast": 3e-4}, "ecg2eeg": {}}
_PRETRAINED_RATES = {
    "eeg2ecg": {"KD": 1e-3, "KD-Contrast": 3e-5}, "ecg2eeg": {"KD": 3e-4}
}
# A third of the simulation's training windows and of its pairs: as many steps.
_EEGMAT_HEAD = dataclasses.replace(HEAD, epochs=20)
_EEGMAT_BRIDGE = dataclasses.replace(BRIDGE, epochs=120)


def simulated(
    direction: str = DIRECTIONS[0], pretrained_in: pathlib.Path | None = None, pretraining: int = 0
) -> Setup:
    """Returns simulated EEG and ECG; every seed draws its own people.

    Args:
        direction: one of `DIRECTIONS`.
        pretrained_in: folder of encoders pretrained on other people, who are drawn and the encoders
            pretrained where it is empty; None for random weights.
        pretraining: which one, see `pretrained`.
    """
    if pretrained_in is not None:
        encoders = functools.cache(lambda: pretrained(pretrained_in, pretraining))
        old, new = direction.split("2")
        name = "simulation, pretrained encoders" + (f", pretraining {pretraining}" * bool(pretraining))
        return dataclasses.replace(
            simulated(direction), dataset=_named(name, direction),
            encoders=lambda seed, size: (encoders()[old], encoders()[new]), sizes=(),
            rates=_PRETRAINED_RATES[direction],
        )
    return Setup(
        dataset=_named("simulation", direction),
        settings=TransferSettings(*direction.split("2"), head=HEAD, bridge=BRIDGE),
        windows=lambda seed, folder: _simulated(simulation.Simulated(seed=seed), folder),
        encoders=lambda seed, size: _encoders(seed, size, simulation.EEG_LEADS, direction),
        sizes=_sizes(direction), rates=_RATES[direction],
    )


def recorded(folds: int, direction: str = DIRECTIONS[0]) -> Setup:
    """Returns the recordings of --data, every subject tested once.

    Args:
        folds: by subject.
        direction: one of `DIRECTIONS`.

    Raises:
        InputError: a data set without EEG and ECG.
    """
    of = {"eeg": "labram", "ecg": "hubert_ecg"}
    name, leads, own = DATASET.value, eeg_leads(), described()
    if own is not None:
        if missing := sorted(of.keys() - own.leads.keys()):
            raise InputError(
                f"{DATA.value} describes no modality {missing[0]}: studies need eeg and ecg."
            )
        name, leads = own.description.name, own.leads["eeg"]
        refuse(["eeg_leads"], f"is for eegmat, and {DATA.value} names its own")
    elif name != "eegmat":
        raise InputError(
            f"--dataset={name}: studies run on the simulation, on eegmat, or on described EEG and ECG."
        )
    return Setup(
        dataset=_named(name, direction),
        settings=TransferSettings(
            *direction.split("2"), head=_EEGMAT_HEAD, bridge=_EEGMAT_BRIDGE
        ),
        windows=lambda seed, folder: prepared(folder.with_name("all"), of, 0)[0],
        encoders=lambda seed, size: _encoders(seed, size, leads, direction),
        sizes=_sizes(direction), folds=folds, same_people=True, rates=_RATES[direction],
        # A folder of finished jobs reads no windows: its record must know others.
        about={"recordings_hash": recordings_hash(of)},
    )


def miniature(direction: str = DIRECTIONS[0]) -> Setup:
    """Returns the least on which everything runs: a minute of work, and no result to believe.

    Args:
        direction: one of `DIRECTIONS`.
    """
    people = {"train": 3, "val": 2, "pair": 3, "test": 3}
    sizes = {"small": 16, "base": 24, "large": 32}

    def encoders(seed: int, size: str) -> tuple[mp.Encoder, mp.Encoder]:
        width = sizes[size or "small"]
        eeg = mp.create(
            "labram", rngs=nnx.Rngs(seed), leads=simulation.EEG_LEADS, depth=2, features=100,
            num_heads=5, stem_channels=4, mlp_features=32,
        )
        ecg = mp.create(
            "hubert_ecg_small", rngs=nnx.Rngs(1000 + seed), depth=2, features=width, num_heads=2,
            mlp_features=2 * width, conv_channels=(width,) * 5, position_kernel=8, position_groups=2,
        )
        return _in_order(eeg, ecg, direction)

    return Setup(
        dataset=_named("simulation, miniature", direction),
        settings=TransferSettings(
            *direction.split("2"), head=dataclasses.replace(HEAD, unfrozen=False, epochs=20),
            bridge=dataclasses.replace(BRIDGE, rank=2, num_prototypes=3, epochs=2), folds=3,
        ),
        windows=lambda seed, folder: _simulated(
            simulation.Simulated(seed=seed, sizes=people, duration_s=12.0, window_s=4.0), folder
        ),
        encoders=encoders, sizes=tuple(sizes) if direction == "eeg2ecg" else (),
    )


def _simulated(people: simulation.Simulated, folder: pathlib.Path):
    return prepare(folder, people, people.split, workers=0)[0]


def _named(dataset: str, direction: str) -> str:
    return dataset if direction == DIRECTIONS[0] else f"{dataset}, {direction}"


def _sizes(direction: str) -> tuple[str, ...]:
    """Names of the new encoder's sizes; LaBraM has one."""
    return SIZES if direction == "eeg2ecg" else ()


def _encoders(
    seed: int, size: str, leads: Sequence[str], direction: str
) -> tuple[mp.Encoder, mp.Encoder]:
    """The old and the new encoder; `size` is HuBERT-ECG's, "" the reduced one."""
    ecg = mp.create(f"hubert_ecg_{size}", rngs=nnx.Rngs(1000 + seed)) if size else hubert_ecg(seed)
    return _in_order(labram(seed, leads), ecg, direction)


def _in_order(
    eeg: mp.Encoder, ecg: mp.Encoder, direction: str
) -> tuple[mp.Encoder, mp.Encoder]:
    return (eeg, ecg) if direction == "eeg2ecg" else (ecg, eeg)
