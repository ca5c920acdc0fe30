"""What a method costs: parameters, memory, time and arithmetic.

Arithmetic and memory are those that XLA states of the compiled programs, with the batch whole (as
on accelerators; `model_ports.batch_groups` computes it in parts on a CPU). XLA does not count what
libraries do for it: the eigenvalues and singular values within closed forms. Of a bridge in closed form
the passes through the old encoder are stated, not what the host then solves.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.training import engine
from jaxbridge.training.engine import Batch, Trainer
from model_ports.batch_groups import whole_batches


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a fitted method took, and what a prediction takes.

    Attributes:
        trainable_parameters: values that the fit determined.
        frozen_parameters: further parameters that a prediction reads.
        peak_memory_bytes: of one training step on one device at its batch size (parameters,
            optimizer state, batch, activations); of the solution where it is in closed form.
        wall_s: seconds of the fit, compilation included; without what is captured once for all
            methods (pooled features, pseudo-labels, targets).
        epoch_s: median seconds of an epoch after the first, which compiles; NaN without epochs.
        train_samples: windows gone through, over all epochs.
        train_flops_per_sample: of a training step, forward, backward and update, per window.
        inference_flops_per_sample: from one window's signal to its logits.
    """

    trainable_parameters: int
    frozen_parameters: int
    peak_memory_bytes: int
    wall_s: float
    epoch_s: float
    train_samples: int
    train_flops_per_sample: float
    inference_flops_per_sample: float

    def as_dict(self) -> dict[str, float]:
        return dataclasses.asdict(self)


class Program(NamedTuple):
    """A program that is traced, not compiled or run.

    Attributes:
        lowered: the program.
        samples: windows that one run of it takes.
        seconds: tracing took, which is no part of a fit.
    """

    lowered: jax.stages.Lowered
    samples: int
    seconds: float

    def flops_and_memory(self) -> tuple[float, int]:
        """Returns operations per sample, and bytes that the program holds at its peak."""
        compiled = self.lowered.compile()
        memory = compiled.memory_analysis()
        held = (
            memory.argument_size_in_bytes + memory.output_size_in_bytes
            + memory.temp_size_in_bytes - memory.alias_size_in_bytes
        )
        return float(compiled.cost_analysis().get("flops", 0.0)) / self.samples, held


def step_program(trainer: Trainer, batch: Batch) -> Program:
    """Returns one training step on one batch; per device, if several share it."""
    rows = len(next(iter(batch.values())))
    started = time.monotonic()
    with whole_batches():
        lowered = trainer.lower(batch, np.arange(rows), rows)
    return Program(lowered, -(-rows // len(trainer.devices)), time.monotonic() - started)


def inference_program(model: nnx.Module, signal_shape: tuple[int, ...]) -> Program:
    """Returns the prediction from one window."""
    return forward_program(predict, model, (1, *signal_shape[1:]))


def forward_program(
    function: Callable[[Any, jax.Array], jax.Array], module: nnx.Module, shape: tuple[int, ...]
) -> Program:
    """Returns the program of `function(module, signals)`, for a batch of signals of that shape.

    Args:
        function: a module and (batch, ...) signals -> an array with a leading batch axis.
        module: what it is called with.
        shape: of the signals, batch first; its windows are the program's samples.
    """
    signal = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    started = time.monotonic()
    with whole_batches():
        lowered = jax.jit(function).lower(module, signal)
    return Program(lowered, shape[0], time.monotonic() - started)


def predict(model: nnx.Module, signal: jax.Array) -> jax.Array:
    """(batch, ...) signals -> (batch, classes) logits."""
    return model(signal)


def count_parameters(
    model: nnx.Module, signal_shape: tuple[int, ...], trained: Callable[[str], bool]
) -> tuple[int, int]:
    """Returns how many parameters of a model were trained, and how many frozen ones it reads.

    Args:
        model: signal -> logits.
        signal_shape: of a batch of one.
        trained: tells by path.
    """
    batch = {"input": jax.ShapeDtypeStruct(tuple(signal_shape), jnp.float32)}
    read = engine.reached(model, _logits, batch)
    sizes = {
        ".".join(map(str, path)): leaf[...].size
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }
    mine = sum(size for path, size in sizes.items() if trained(path))
    return mine, sum(size for path, size in sizes.items() if path in read and not trained(path))


def _logits(model: nnx.Module, batch: Any) -> tuple[jax.Array, jax.Array]:
    logits = model(batch["input"])
    return logits, jnp.ones(len(logits))
