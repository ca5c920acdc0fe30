"""Features and labels to measure probes and CKA with, the same in every process."""

import numpy as np

_TELLING = 8


def labels(windows: int, classes: int) -> np.ndarray:
    """Returns (windows,) classes, the first ones more frequent."""
    shares = np.arange(classes, 0, -1) / np.arange(classes, 0, -1).sum()
    return np.random.default_rng(7).choice(classes, windows, p=shares)


def features(
    layers: int, windows: int, width: int, spectrum: str, *, seed: int = 0, classes: int = 3
) -> np.ndarray:
    """Returns (layers, windows, width) float32, of which 8 directions tell the classes.

    Args:
        layers, windows, width: sizes.
        spectrum: "iid" noise of deviation 1, or "power_law": rotated axes whose deviations fall as
            rank to the power -0.75 from sqrt(width) / 2, as the features of encoders do.
        seed: fixes the values.
        classes: number of classes of `labels`.
    """
    rng = np.random.default_rng(seed)
    known = labels(windows, classes)
    x = rng.standard_normal((layers, windows, width), np.float32)
    telling = min(_TELLING, width)
    for layer in x:
        layer[:, :telling] += 0.7 * rng.standard_normal((classes, telling), np.float32)[known]
    if spectrum == "power_law":
        axes = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
        axes *= 0.5 * np.sqrt(width) * np.arange(1, width + 1, dtype=np.float32)[:, None] ** -0.75
        for layer in x:
            layer[:] = layer @ axes
    return x
