"""Features and labels to measure probes and CKA with, the same in every process."""

import numpy as np


def features(
    layers: int, windows: int, width: int, spectrum: str, *, seed: int = 0
) -> np.ndarray:
    """Returns (layers, windows, width) float32.

    Args:
        layers, windows, width: sizes.
        spectrum: "iid" noise, or "power_law": rotated axes whose deviations fall as 1 / rank, as
            the features of encoders do.
        seed: fixes the values.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((layers, windows, width), np.float32)
    if spectrum == "power_law":
        turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
        x = (x / np.arange(1, width + 1, dtype=np.float32)) @ turn
    return x


def labels(x: np.ndarray, classes: int) -> np.ndarray:
    """Returns (windows,) classes that a linear map of the first layer tells, with noise."""
    rng = np.random.default_rng(7)
    scores = x[0] / x[0].std() @ rng.standard_normal((x.shape[2], classes))
    return (scores / scores.std() + rng.gumbel(size=scores.shape)).argmax(axis=1)
