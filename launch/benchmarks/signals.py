"""Windows to measure encoders with: the published shapes, random values."""

from collections.abc import Sequence

import numpy as np

# (channels, samples ...) of one window, as the published models take it
_SHAPES = {
    "ecg_dualnet": (1, 18000),
    "ecg_fm": (12, 15000),
    "hubert_ecg_base": (3000,),
    "hubert_ecg_large": (3000,),
    "hubert_ecg_small": (3000,),
    "labram": (6, 30, 200),
    "normwear": (3, 390),
    "papagei": (1, 7500),
    "tiny_biomoe": (3, 224, 224),
}


def signal(model: str, batch: int, shape: Sequence[int] | None = None) -> np.ndarray:
    """Returns `batch` windows for `model`, float32: uniform images or standard-normal signals.

    Their shape is the published one, unless `shape` gives another for one window.
    """
    rng = np.random.default_rng(0)
    draw = rng.random if model == "tiny_biomoe" else rng.standard_normal
    return draw((batch, *(shape or _SHAPES[model])), np.float32)
