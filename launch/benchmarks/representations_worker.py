"""Worker that draws a batch of signals, with this package or with Matplotlib."""

from collections.abc import Callable

import numpy as np

from launch.benchmarks import timing
from launch.benchmarks.worker import serve


class _Drawing:
    def __init__(self) -> None:
        self._call: Callable[[], object] | None = None

    def ours(self, name: str, batch: int, samples: int) -> None:
        """All signals in one compiled call."""
        import jax

        from model_ports.representations import represent

        signals = pulses(batch, samples)
        self._call = lambda: jax.block_until_ready(represent(signals, name))
        self._call()
        timing.reset_peak_memory()

    def slow(self, name: str, batch: int, samples: int) -> None:
        """One signal after the other."""
        from launch.benchmarks.slow_pictures import drawn

        signals = pulses(batch, samples)
        self._call = lambda: np.stack([drawn(signal, name) for signal in signals])
        drawn(signals[0], name)

    def call(self) -> tuple[float, float]:
        """Wall and CPU seconds of one batch."""
        return timing.timed(self._call)


def pulses(batch: int, samples: int) -> np.ndarray:
    """Noisy sines of 10 to 20 periods that drift, (batch, samples)."""
    rng = np.random.default_rng(0)
    at = np.arange(samples) / samples
    waves = np.sin(2 * np.pi * rng.uniform(10, 20, (batch, 1)) * at + rng.uniform(0, 6, (batch, 1)))
    steps = rng.standard_normal((batch, samples)).cumsum(axis=1) / samples**0.5
    return waves + steps + 0.02 * rng.standard_normal((batch, samples))


if __name__ == "__main__":
    drawing = _Drawing()
    serve({
        "ours": drawing.ours, "slow": drawing.slow, "call": drawing.call,
        "peak": timing.peak_memory_bytes,
    })
