"""Worker that captures a batch of a published direction and trains its bridge with this package."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from launch.benchmarks import timing
from launch.benchmarks.worker import serve


class _Training:
    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}

    def load(self, direction: str, batch: int, steps: int) -> dict[str, Any]:
        """Captures one batch of random windows, and compiles calls of `steps` steps on it."""
        import jax
        from flax import nnx

        import model_ports as mp
        from jaxbridge.features.sweep import sweep
        from jaxbridge.training.bridging import bridge_trainer, target_kind
        from launch.published.directions import DIRECTIONS, untrained_model

        chosen = DIRECTIONS[direction]
        settings = dataclasses.replace(chosen.bridge, batch_size=batch)
        old, new = (
            mp.create(name, rngs=nnx.Rngs(seed)) for seed, name in enumerate((chosen.old, chosen.new))
        )
        model = untrained_model(chosen, old, new, seed=2)
        kind = target_kind(old, chosen.position, settings.location)
        rng = np.random.default_rng(0)
        signals = {
            name: rng.standard_normal((batch, *shape), np.float32)
            for name, shape in (("old", chosen.old_signal), ("new", chosen.new_signal))
        }
        every = np.arange(batch)

        def capture() -> dict[str, np.ndarray]:
            return {
                name: sweep(
                    function, module, signals[side].__getitem__, every, batch_size=batch, what=name
                )
                for name, function, module, side in (
                    ("pooled", _pooled, model, "new"), ("target", kind, old, "old")
                )
            }

        jax.block_until_ready(nnx.state(model))
        timing.reset_peak_memory()
        first, data = timing.timed(capture), capture()
        trainer = bridge_trainer(model, settings)
        data = trainer.place(data)
        order = np.tile(every, steps)
        self._calls = {
            "capture": capture, "step": lambda: trainer.train(data, order, batch),
        }
        compiled = first.wall + self.call("step").wall
        again = self.call("capture").wall + self.call("step").wall
        return {
            "parameters": sum(value.size for value in trainer.params.values()),
            "compile_s": max(0.0, compiled - again),
        }

    def call(self, what: str) -> timing.Seconds:
        """Runs "capture" (of the batch) or "step" (all the steps of a call)."""
        return timing.timed(self._calls[what])

    def peak(self) -> int:
        """Peak memory of the process since the encoders were made, bytes."""
        return timing.peak_memory_bytes()


def _pooled(model: Any, signal: Any) -> Any:
    return model.pooled(signal)


if __name__ == "__main__":
    training = _Training()
    serve({name: getattr(training, name) for name in ("load", "call", "peak")})
