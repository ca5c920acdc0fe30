"""Small encoders and separable paired windows, for tests of the method."""

import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge.data.memory import ArrayWindows

LEADS = ("O1", "O2")


def encoders(seed: int = 0) -> tuple[mp.Encoder, mp.Encoder]:
    """Returns (LaBraM with 3 layers of 200 features, HuBERT-ECG with 2 layers of 16)."""
    old = mp.create(
        "labram", rngs=nnx.Rngs(seed), leads=LEADS, depth=3, mlp_features=32, layer_scale=1.0
    )
    new = mp.create(
        "hubert_ecg_small", rngs=nnx.Rngs(seed + 1), depth=2, features=16, num_heads=2,
        mlp_features=32, conv_channels=(16,) * 5, position_kernel=8, position_groups=2,
    )
    return old, new


def windows(seed: int = 0, per_class: int = 10) -> ArrayWindows:
    """Returns two-second windows; in both signals the classes differ in frequency.

    "eeg" is (windows, 2 leads, 2 s, 200), "ecg" (windows, 600).
    """
    rng = np.random.default_rng(seed)
    splits = np.repeat(["train", "val", "pair", "test"], 2 * per_class)
    labels = np.tile(np.repeat([0, 1], per_class), 4)
    count = len(labels)

    def tone(low: float, high: float, samples: int, rate: float) -> np.ndarray:
        frequency = np.where(labels == 0, low, high)[:, None]
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        wave = np.sin(2 * np.pi * frequency * np.arange(samples) / rate + phase)
        return 2 * wave + 0.3 * rng.standard_normal((count, samples))

    eeg = np.stack([tone(6, 20, 400, 200) for _ in LEADS], axis=1).reshape(count, 2, 2, 200)
    ecg = tone(2, 9, 600, 100)
    return ArrayWindows({"eeg": eeg, "ecg": ecg}, labels, splits, ("slow", "fast"))
