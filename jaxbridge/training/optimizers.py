"""Adam with a learning-rate schedule and gradient clipping."""

import dataclasses
from typing import Literal

import optax

from model_ports.errors import InputError

Schedule = Literal["constant", "cosine", "linear"]


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """How parameters move.

    Attributes:
        learning_rate: Adam's rate, after warm-up.
        schedule: "constant" (paper), or "cosine" or "linear" decay to 0 at the last step.
        warmup_steps: steps over which the rate rises linearly from 0.
        clip_norm: gradients of a larger global norm, over trained leaves, are scaled down to it;
            None for no clipping.
        weight_decay: decoupled (AdamW); the paper uses none.
    """

    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine", "linear"):
            raise InputError(
                f"schedule is {self.schedule!r}; use 'constant', 'cosine' or 'linear'."
            )
        for name, least in (("warmup_steps", 0), ("weight_decay", 0), ("learning_rate", 0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"clip_norm is {self.clip_norm}; it must be positive.")


def optimizer(settings: OptimizerSettings, steps: int) -> optax.GradientTransformation:
    """Returns the optimizer for a run of that many steps.

    Raises:
        InputError: the warm-up is as long as the run.
    """
    check_warmup(settings, steps)
    parts = []
    if settings.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(settings.clip_norm))
    rate = rate_of(settings, steps)
    if settings.weight_decay:
        parts.append(optax.adamw(rate, weight_decay=settings.weight_decay))
    else:
        parts.append(optax.adam(rate))
    return parts[0] if len(parts) == 1 else optax.chain(*parts)


def check_warmup(settings: OptimizerSettings, steps: int) -> None:
    """Refuses a warm-up as long as the run (`InputError`)."""
    if steps <= settings.warmup_steps:
        raise InputError(
            f"warmup_steps is {settings.warmup_steps}, but the run has {steps} steps; "
            "warm up for fewer."
        )


def rate_of(settings: OptimizerSettings, steps: int) -> optax.ScalarOrSchedule:
    """Returns the learning rate over a run of that many steps; a number where it never changes."""
    peak, warmup = settings.learning_rate, settings.warmup_steps
    if settings.schedule == "constant" and not warmup:
        return peak  # a number keeps the optimizer state free of a second step count
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, steps - warmup),
        "linear": lambda: optax.linear_schedule(peak, 0.0, steps - warmup),
    }[settings.schedule]()
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])
