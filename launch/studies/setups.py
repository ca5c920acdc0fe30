"""What studies run on: simulated people, eegmat, and a miniature for a first look.

Encoders have the published layout at reduced size and random weights, so that every method, those
that train the whole new encoder included, can be fitted many times on a CPU.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from flax import nnx

import model_ports as mp
from jaxbridge import TransferSettings
from jaxbridge.data import simulation
from jaxbridge.data.preparation import prepare
from jaxbridge.studies import Setup
from launch.flags.dataset import DATASET, eeg_leads, prepared
from launch.studies.reduced_models import BRIDGE, HEAD, hubert_ecg, labram
from model_ports.errors import InputError

SIZES = ("small", "base", "large")
"""Of HuBERT-ECG, as published."""

# Best of --study=learning_rate --seeds=10, by the accuracy on people whom no comparison meets.
_RATES = {"KD": 3e-4, "KD-Contrast": 3e-5}
# A third of the simulation's training windows and of its pairs: as many steps.
_EEGMAT_HEAD = dataclasses.replace(HEAD, epochs=20)
_EEGMAT_BRIDGE = dataclasses.replace(BRIDGE, epochs=120)


def simulated() -> Setup:
    """Returns simulated EEG and ECG; every seed draws its own people."""
    return Setup(
        dataset="simulation",
        settings=TransferSettings("eeg", "ecg", head=HEAD, bridge=BRIDGE),
        windows=lambda seed, folder: _simulated(simulation.Simulated(seed=seed), folder),
        encoders=lambda seed, size: _encoders(seed, size, simulation.EEG_LEADS),
        sizes=SIZES, rates=_RATES,
    )


def recorded(folds: int) -> Setup:
    """Returns the recordings of --data, every subject tested once.

    Raises:
        InputError: a data set without EEG and ECG.
    """
    if DATASET.value != "eegmat":
        raise InputError(f"--dataset={DATASET.value}: studies run on the simulation or on eegmat.")
    of = {"eeg": "labram", "ecg": "hubert_ecg"}
    return Setup(
        dataset=DATASET.value,
        settings=TransferSettings("eeg", "ecg", head=_EEGMAT_HEAD, bridge=_EEGMAT_BRIDGE),
        windows=lambda seed, folder: prepared(folder.with_name("all"), of, 0)[0],
        encoders=lambda seed, size: _encoders(seed, size, eeg_leads()),
        sizes=SIZES, folds=folds, same_people=True, rates=_RATES,
    )


def miniature() -> Setup:
    """Returns the least on which everything runs: a minute of work, and no result to believe."""
    people = {"train": 3, "val": 2, "pair": 3, "test": 3}
    sizes = {"small": 16, "base": 24, "large": 32}

    def encoders(seed: int, size: str) -> tuple[mp.Encoder, mp.Encoder]:
        width = sizes[size or "small"]
        old = mp.create(
            "labram", rngs=nnx.Rngs(seed), leads=simulation.EEG_LEADS, depth=2, features=100,
            num_heads=5, stem_channels=4, mlp_features=32,
        )
        new = mp.create(
            "hubert_ecg_small", rngs=nnx.Rngs(1000 + seed), depth=2, features=width, num_heads=2,
            mlp_features=2 * width, conv_channels=(width,) * 5, position_kernel=8, position_groups=2,
        )
        return old, new

    return Setup(
        dataset="simulation, miniature",
        settings=TransferSettings(
            "eeg", "ecg", head=dataclasses.replace(HEAD, unfrozen=False, epochs=20),
            bridge=dataclasses.replace(BRIDGE, rank=2, num_prototypes=3, epochs=2), folds=3,
        ),
        windows=lambda seed, folder: _simulated(
            simulation.Simulated(seed=seed, sizes=people, duration_s=12.0, window_s=4.0), folder
        ),
        encoders=encoders, sizes=tuple(sizes),
    )


def _simulated(people: simulation.Simulated, folder: pathlib.Path):
    return prepare(folder, people, people.split, workers=0)[0]


def _encoders(seed: int, size: str, leads: Sequence[str]) -> tuple[mp.Encoder, mp.Encoder]:
    new = mp.create(f"hubert_ecg_{size}", rngs=nnx.Rngs(1000 + seed)) if size else hubert_ecg(seed)
    return labram(seed, leads), new
