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

    def loss_sums(
        self, trainer: Trainer, batch_size: int, steps: int
    ) -> Iterator[tuple[float, float]]:
        """Yields sums of losses and of weights; together they are over all windows.

        Args:
            steps: batches of one compiled call, at most.
        """
        ...

    def step_operations(self, trainer: Trainer, batch_size: int) -> float:
        """Returns the operations of a step on each device; nothing is compiled or run."""
        ...


class Placed:
    """Arrays that fit on every device: what is asked for is one compiled call.

    Args:
        trainer: whose devices.
        arrays: with a leading window axis.
    """

    def __init__(self, trainer: Trainer, arrays: Batch):
        self.size = len(next(iter(arrays.values())))
        self._arrays = trainer.place(dict(arrays))

    def train(self, trainer: Trainer, order: np.ndarray, batch_size: int) -> np.ndarray:
        return trainer.train(self._arrays, order, batch_size)

    def loss_sums(
        self, trainer: Trainer, batch_size: int, steps: int
    ) -> Iterator[tuple[float, float]]:
        for rows in _parts(np.arange(self.size), steps * batch_size):
            yield trainer.loss_sums(self._arrays, rows, batch_size)

    def step_operations(self, trainer: Trainer, batch_size: int) -> float:
        return trainer.step_operations(self._arrays, batch_size)


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

    def loss_sums(
        self, trainer: Trainer, batch_size: int, steps: int
    ) -> Iterator[tuple[float, float]]:
        for batches in self._ahead(trainer, np.arange(self.size), batch_size, steps):
            yield trainer.sum_batches(*batches)

    def step_operations(self, trainer: Trainer, batch_size: int) -> float:
        first = np.arange(min(batch_size, self.size))
        return trainer.batch_operations(*trainer.read_batches(self._read, first, batch_size))

    def _ahead(
        self, trainer: Trainer, order: np.ndarray, batch_size: int, steps: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        fitting = max(1, self._chunk_bytes // max(1, batch_size * self._window_bytes))
        parts = _parts(order, batch_size * min(fitting, steps or fitting))
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(trainer.read_batches, self._read, parts[0], batch_size)
            for part in [*parts[1:], None]:
                batches = coming.result()
                if part is not None:
                    coming = reader.submit(trainer.read_batches, self._read, part, batch_size)
                yield batches


def _parts(order: np.ndarray, windows: int) -> list[np.ndarray]:
    return [order[i : i + windows] for i in range(0, len(order), windows)]
