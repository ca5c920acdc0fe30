"""Where training windows come from: arrays on the devices, or rows read ahead while they work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from jaxbridge.training.engine import Batch, NonFiniteError, Rows, Trainer

# Rows in flight: one chunk is trained on while the next is read.
_CHUNK_BYTES = 256 * 2**20


class Source(Protocol):
    """Windows to train on or to validate with."""

    size: int

    def train(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> np.ndarray:
        """Runs the steps of `order`; see `Trainer.train`."""
        ...

    def loss(self, trainer: Trainer, batch_size: int) -> float:
        """Returns the mean loss over all windows."""
        ...


class Placed:
    """Arrays that fit on every device: an epoch is one compiled call.

    Args:
        trainer: whose devices.
        arrays: with a leading window axis.
    """

    def __init__(self, trainer: Trainer, arrays: Batch):
        self.size = len(next(iter(arrays.values())))
        self._arrays = trainer.place(dict(arrays))

    def train(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> np.ndarray:
        return trainer.train(self._arrays, order, batch_size)

    def loss(self, trainer: Trainer, batch_size: int) -> float:
        return trainer.loss(self._arrays, batch_size)


class Streamed:
    """Rows from host memory or disk, or computed now; memory is bounded by two chunks.

    Args:
        read: (k,) indices -> arrays with a leading axis of k.
        size: number of windows.
        window_bytes: of one window's row.
        chunk_bytes: rows of one compiled call.
    """

    def __init__(
        self, read: Rows, size: int, window_bytes: int, *, chunk_bytes: int = _CHUNK_BYTES
    ):
        self._read, self.size = read, size
        self._window_bytes, self._chunk_bytes = window_bytes, chunk_bytes

    def train(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> np.ndarray:
        losses: list[float] = []
        for batches in self._ahead(trainer, order, batch_size):
            try:
                losses += trainer.train_batches(*batches).tolist()
            except NonFiniteError as error:
                raise NonFiniteError(losses + error.before, error.loss) from None
        return np.asarray(losses, np.float32)

    def loss(self, trainer: Trainer, batch_size: int) -> float:
        chunks = self._ahead(trainer, np.arange(self.size), batch_size)
        total, weight = np.sum([trainer.sum_batches(*batches) for batches in chunks], axis=0)
        return float(total / weight)

    def _ahead(
        self, trainer: Trainer, order: np.ndarray, batch_size: int
    ) -> Iterator[tuple[Any, Any]]:
        steps = max(1, self._chunk_bytes // max(1, batch_size * self._window_bytes))
        parts = [
            order[i : i + steps * batch_size] for i in range(0, len(order), steps * batch_size)
        ]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(trainer.read_batches, self._read, parts[0], batch_size)
            for part in [*parts[1:], None]:
                batches = coming.result()
                if part is not None:
                    coming = reader.submit(trainer.read_batches, self._read, part, batch_size)
                yield batches
