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


def pictures(seed: int = 0) -> mp.Encoder:
    """Returns a Tiny-BioMoE of pictures of 64 pixels, with all its 16 layers; an embedding of 8."""
    return mp.create(
        "tiny_biomoe", rngs=nnx.Rngs(seed), image_size=64, stem_features=4, spectral_features=(4, 4),
        attention_features=(4, 4), attention_heads=(1, 1), mlp_ratios=(1, 1, 1, 1),
        vit_features=(8, 8, 4), vit_heads=(1, 1, 1), key_features=4, window=2,
    )


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
