"""What a bridge is trained to reproduce, and by which distance."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from jaxbridge.bridged_model import Suffix
from jaxbridge.training import losses
from jaxbridge.training.engine import AXIS, VALID, Loss
from model_ports.errors import InputError

Location = Literal["last_layer", "bridge_output"]


@dataclasses.dataclass(frozen=True)
class AlignmentSettings:
    """The loss of a bridge.

    Attributes:
        loss: "cosine" (paper), "token_cosine", "l1", "mse" or "info_nce".
        location: "last_layer" compares at the old encoder's last layer (the better place in the
            paper's ablation), "bridge_output" at the input of old layer l.
        temperature: of InfoNCE.
        logit_weight: weight of the cross-entropy between the bridged path's class probabilities
            and the teacher's, beside the alignment; the teacher's are its soft pseudo-labels.
    """

    loss: str = "cosine"
    location: Location = "last_layer"
    temperature: float = 0.1
    logit_weight: float = 0.0

    def __post_init__(self) -> None:
        losses.check_name(self.loss)
        if self.location not in ("last_layer", "bridge_output"):
            raise InputError(
                f"location is {self.location!r}; use 'last_layer' or 'bridge_output'."
            )
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be positive.")
        if not self.logit_weight >= 0:
            raise InputError(f"logit_weight is {self.logit_weight}; it must not be negative.")


def alignment_loss(settings: AlignmentSettings, *, remat: bool = False) -> Loss:
    """Returns the loss of a `Suffix` on batches of captured pairs.

    A batch holds "pooled" (batch, in_features), "target" (batch, tokens, features) as `location`
    says, and "logits" (batch, num_classes), the teacher's, where `logit_weight` is not 0.

    Args:
        settings: see `AlignmentSettings`.
        remat: recompute the old layers' activations in the backward pass in place of keeping them.
    """

    def loss(suffix: Suffix, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        tokens = suffix.bridge(batch["pooled"])
        last = None
        if settings.location == "last_layer" or settings.logit_weight:
            last = suffix.from_tokens(tokens, remat=remat)
        values = alignment_values(settings, suffix, tokens, last, batch)
        return values, jnp.ones_like(values)

    return loss


def alignment_values(
    settings: AlignmentSettings, suffix: Suffix, tokens: jax.Array, last: jax.Array | None,
    batch: Mapping[str, jax.Array],
) -> jax.Array:
    """Returns the loss of every window, (batch,).

    Args:
        settings: see `AlignmentSettings`.
        suffix: for its head.
        tokens: a bridge's output, (batch, tokens, features).
        last: the last layer's, of the same windows; not read where `settings` do not need it.
        batch: see `alignment_loss`.
    """
    predicted = tokens if settings.location == "bridge_output" else last
    values = _distance(settings)(predicted, batch)
    if settings.logit_weight:
        logits = suffix.logits(last)
        values += settings.logit_weight * losses.soft_cross_entropy(logits, batch["logits"])
    return values


def _distance(settings: AlignmentSettings):
    if settings.loss == losses.CONTRASTIVE:
        contrast = functools.partial(
            losses.info_nce, temperature=settings.temperature, axis_name=AXIS
        )
        return lambda x, batch: contrast(x, batch["target"], batch[VALID])
    pairwise = losses.PAIRWISE[settings.loss]
    return lambda x, batch: pairwise(x, batch["target"])
