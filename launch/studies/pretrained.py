"""Encoders pretrained on what can be measured in other people's unlabelled signals.

Foundation models know how signals vary before they meet a task. Here each encoder learns the level
(low, middle, high) of a window's power in five bands of frequency, one task each, from simulated
people whom no study meets; rest and load are not told apart.
"""

import pathlib

import numpy as np

import model_ports as mp
from jaxbridge.data import simulation
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.data.preparation import prepare
from jaxbridge.data.splits import SplitRule
from jaxbridge.data.store import WindowStore
from jaxbridge.pretraining import PretrainSettings, TaskSet
from jaxbridge.pretraining.run import pretrain_encoder
from jaxbridge.training.optimizers import OptimizerSettings
from launch.studies.reduced_models import hubert_ecg, labram

PEOPLE = {"train": 90, "val": 10}
# Seeds of studies are small: nobody is met twice.
_SEED = 1_000_000
# Hz; the simulated ECG is filtered from 0.05 to 47 Hz
BANDS_HZ = {"eeg": (1, 4, 8, 13, 30, 45), "ecg": (0.1, 0.7, 2, 8, 20, 45)}
SETTINGS = PretrainSettings(
    windows_per_set=8, epochs=4,
    optimizer=OptimizerSettings(learning_rate=5e-4, schedule="cosine", warmup_steps=50),
)
_LEVELS = ("low", "middle", "high")


def pretrained(folder: pathlib.Path, number: int = 0) -> dict[str, mp.Encoder]:
    """Returns the EEG and the ECG encoder, pretrained within the folder unless they were before.

    Args:
        folder: of one pretraining.
        number: which one; each has other people and begins at other weights.

    Raises:
        InputError: the folder holds something else.
    """
    seed = _SEED + number
    people = simulation.Simulated(seed=seed, sizes=PEOPLE)
    store = prepare(folder / "windows", people, SplitRule(PEOPLE, seed=seed), workers=0)[0]
    start = {"eeg": labram(seed, simulation.EEG_LEADS), "ecg": hubert_ecg(seed)}
    return {
        name: mp.load(
            pretrain_encoder(
                encoder, band_tasks(store, name), SETTINGS, out=folder / name, seed=seed
            ).folder
        )
        for name, encoder in start.items()
    }


def band_tasks(store: WindowStore, modality: str) -> list[TaskSet]:
    """Returns a set for each band: the windows of the store, labelled by their power in it."""
    recipe = store.metadata["modalities"][modality]
    everything = np.arange(len(store.labels))
    signals = store.read(modality, everything)
    power = band_powers(
        signals.reshape(len(signals), len(recipe["leads"]), -1), recipe["sampling_rate_hz"],
        BANDS_HZ[modality],
    )
    edges = np.quantile(power[store.splits == "train"], (1 / 3, 2 / 3), axis=0)
    names = [
        f"{modality} {low:g} to {high:g} Hz"
        for low, high in zip(BANDS_HZ[modality], BANDS_HZ[modality][1:], strict=False)
    ]
    return [
        TaskSet(
            name,
            ArrayWindows(
                {modality: signals}, np.searchsorted(edges[:, band], power[:, band]), store.splits,
                _LEVELS, store.subjects,
            ),
            modality,
        )
        for band, name in enumerate(names)
    ]


def band_powers(signals: np.ndarray, sampling_rate_hz: float, edges_hz: tuple) -> np.ndarray:
    """Returns the power of (windows, leads, samples) between neighbouring edges, mean over leads.

    Returns:
        (windows, bands) in squared units of the signal; an edge belongs to the band above it.
    """
    samples = signals.shape[-1]
    spectrum = np.abs(np.fft.rfft(signals, axis=-1) / samples) ** 2
    band = np.searchsorted(edges_hz, np.fft.rfftfreq(samples, 1 / sampling_rate_hz), "right") - 1
    return np.stack(
        [2 * spectrum[..., band == b].sum(-1).mean(-1) for b in range(len(edges_hz) - 1)], axis=1
    )
