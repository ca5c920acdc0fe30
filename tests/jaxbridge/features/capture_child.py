"""Captures features until killed: `python -m tests.jaxbridge.features.capture_child ROOT WINDOWS`.

It prints the first window of each batch that it reads, and waits for a line on standard input.
"""

import sys

import numpy as np
from flax import nnx

from jaxbridge.features.store import ensure_features
from tests.jaxbridge.toy import Toy

BATCH, BLOCK = 8, 16


class Waves:
    """Signals (4, 3) that follow from the window's index."""

    hash = "waves"

    def __init__(self, count: int):
        self.labels = np.zeros(count, int)

    def shape(self, modality: str) -> tuple[int, ...]:
        return (4, 3)

    def read(self, modality: str, indices: np.ndarray) -> np.ndarray:
        phase = np.arange(12).reshape(4, 3) + indices[:, None, None]
        return np.sin(0.7 * phase).astype(np.float32)


class TalkingWaves(Waves):
    def read(self, modality: str, indices: np.ndarray) -> np.ndarray:
        print(indices[0], flush=True)
        sys.stdin.readline()
        return super().read(modality, indices)


if __name__ == "__main__":
    ensure_features(
        sys.argv[1], Toy(rngs=nnx.Rngs(0)), TalkingWaves(int(sys.argv[2])), "signal",
        batch_size=BATCH, block_windows=BLOCK,
    )
