"""Worker that captures a batch of a published direction and trains on it with this package."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from launch.benchmarks import timing
from launch.benchmarks.worker import serve


class _Training:
    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}
        self._lower: Callable[[], Any] | None = None

    def load(
        self, direction: str, batch: int, steps: int, method: str = "bridge", dtype: str = "float32"
    ) -> dict[str, Any]:
        """Captures one batch of random windows, and compiles calls of `steps` steps on it.

        Args:
            direction: published direction, or a variant of one.
            batch, steps: of a call.
            method: "bridge", or "KD" for the whole new encoder on cached pseudo-labels.
            dtype: of the encoders' arithmetic; the bridge, its loss and Adam are float32.
        """
        import jax
        from flax import nnx

        import model_ports as mp
        from launch.published.directions import placed

        chosen = placed(direction)
        old, new = (
            mp.create(name, rngs=nnx.Rngs(seed), dtype=dtype)
            for seed, name in enumerate((chosen.old, chosen.new))
        )
        rng = np.random.default_rng(0)
        signals = {
            name: rng.standard_normal((batch, *shape), np.float32)
            for name, shape in (("old", chosen.old_signal), ("new", chosen.new_signal))
        }
        make = {"bridge": _bridge, "KD": _distillation}[method]
        model, capture, make_trainer = make(chosen, old, new, signals)
        jax.block_until_ready(nnx.state(model))
        timing.reset_peak_memory()
        first, data = timing.timed(capture), capture()
        trainer = make_trainer(data)
        self._lower = functools.partial(_step, trainer, data)
        data = trainer.place(data)
        order = np.tile(np.arange(batch), steps)
        self._calls = {
            "capture": capture, "step": lambda: trainer.train(data, order, batch),
        }
        compiled = first.wall + self.call("step").wall
        again = self.call("capture").wall + self.call("step").wall
        return {
            "device": jax.devices()[0].device_kind,
            "parameters": sum(value.size for value in trainer.params.values()),
            "compile_s": max(0.0, compiled - again),
        }

    def program(self) -> dict[str, float]:
        """What XLA states of a step, the batch whole: GFLOP per window, and MB that it holds."""
        flops, memory = self._lower().flops_and_memory()
        return {"gflop": flops / 1e9, "mb": memory / 2**20}

    def operations(self) -> float:
        """Operations of a step per window, as written: what libraries do on accelerators counts."""
        program = self._lower()
        return program.lowered.cost_analysis()["flops"] / program.samples

    def call(self, what: str) -> timing.Seconds:
        """Runs "capture" (of the batch) or "step" (all the steps of a call)."""
        return timing.timed(self._calls[what])

    def peak(self) -> int:
        """Peak memory, bytes: of the accelerator, or of the process since the encoders were made."""
        return timing.jax_peak_memory_bytes()


def _bridge(chosen: Any, old: Any, new: Any, signals: Mapping[str, np.ndarray]) -> tuple:
    """Returns the model, a call that captures its batch, and what makes its trainer."""
    from jaxbridge.training.bridging import bridge_trainer, target_kind
    from launch.published.directions import untrained_model

    batch = len(signals["new"])
    settings = dataclasses.replace(chosen.bridge, batch_size=batch)
    model = untrained_model(chosen, old, new, seed=2)
    kind = target_kind(old, chosen.position, settings.location)

    def capture() -> dict[str, np.ndarray]:
        return {
            "pooled": _swept(_pooled, model, signals["new"]),
            "target": _swept(kind, old, signals["old"]),
        }

    return model, capture, lambda data: bridge_trainer(model, settings)


def _distillation(chosen: Any, old: Any, new: Any, signals: Mapping[str, np.ndarray]) -> tuple:
    """The same for knowledge distillation into the whole new encoder."""
    import optax
    from flax import nnx

    from jaxbridge import TaskHead
    from jaxbridge.methods import Distillation
    from jaxbridge.methods.gradient import labels_of
    from jaxbridge.teacher import Teacher
    from jaxbridge.training.engine import Trainer

    method = Distillation()
    teacher, student = (
        Teacher(encoder, TaskHead(
            encoder.layer_shape(encoder.num_layers, signals[side].shape)[1], chosen.num_classes,
            rngs=nnx.Rngs(2),
        ))
        for side, encoder in (("old", old), ("new", new))
    )

    def capture() -> dict[str, np.ndarray]:
        return {"signal": signals["new"], "logits": _swept(_logits, teacher, signals["old"])}

    def make_trainer(data: Mapping[str, np.ndarray]) -> Trainer:
        labels = labels_of(student, method.loss, lambda path: True, data)
        return Trainer(student, method.loss, labels, optax.adam(method.optimisation.learning_rate))

    return student, capture, make_trainer


def _step(trainer: Any, data: Mapping[str, np.ndarray]) -> Any:
    from jaxbridge.methods.cost import step_program

    return step_program(trainer, data)


def _swept(function: Callable, module: Any, signals: np.ndarray) -> np.ndarray:
    from jaxbridge.features.sweep import sweep

    return sweep(
        function, module, signals.__getitem__, np.arange(len(signals)), batch_size=len(signals),
        what="capturing",
    )


def _pooled(model: Any, signal: Any) -> Any:
    return model.pooled(signal)


def _logits(teacher: Any, signal: Any) -> Any:
    return teacher(signal)


if __name__ == "__main__":
    training = _Training()
    serve({name: getattr(training, name) for name in ("load", "call", "peak", "program", "operations")})
