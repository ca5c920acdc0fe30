"""One encoder, one head per task, and how their losses are weighed against each other."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbridge.head import TaskHead
from jaxbridge.training import losses
from model_ports import Encoder
from model_ports.encoder import token_mean


class MultiTask(nnx.Module):
    """encoder -> token mean -> one head per task, with a log-variance per task.

    Args:
        encoder: shared by all tasks.
        features: width of its last layer.
        class_counts: classes of each task.
        hidden: width of the heads' hidden layer; None for linear heads.
        rngs: source of the heads' initial values. Log-variances start at 0, all weights at 1.

    Raises:
        InputError: a task of fewer than two classes.
    """

    def __init__(
        self, encoder: Encoder, features: int, class_counts: Sequence[int], *,
        hidden: int | None = None, rngs: nnx.Rngs,
    ):
        self.encoder = encoder
        self.heads = nnx.List([
            TaskHead(features, count, hidden=hidden, rngs=rngs) for count in class_counts
        ])
        self.log_variances = nnx.Param(jnp.zeros(len(class_counts)))

    def __call__(self, signal: jax.Array) -> tuple[jax.Array, ...]:
        """Returns every head's logits, each (batch, classes of the task)."""
        pooled = token_mean(self.encoder(signal))
        return tuple(head(pooled) for head in self.heads)


def uncertainty_loss(
    model: MultiTask, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Returns each window's loss exp(-s_t) * c * cross-entropy + s_t, and its set's weight.

    Over batches with equally many windows of each of T tasks the mean is
    1/T * sum_t (exp(-s_t) * L_t + s_t), with trained s_t: homoscedastic uncertainty (Kendall, Gal
    and Cipolla, CVPR 2018, section 3.2) with s_t = log sigma_t^2. Their regulariser for cross-entropy
    is log sigma_t = s_t / 2; a whole s_t makes exp(-s_t) settle at 1 / L_t rather than at
    1 / (2 L_t), which for all tasks alike only scales the loss.

    Args:
        model: the heads and the log-variances s.
        batch: "input" (batch, ...), and (batch,) each "task" (index of the head), "label" (class
            within the task), "class_weight" (c above) and "set_weight".
    """
    task, entropy = batch["task"], 0.0
    for number, logits in enumerate(model(batch["input"])):
        # The label of another task may be no class of this one.
        mine = task == number
        found = losses.cross_entropy(logits, jnp.where(mine, batch["label"], 0))
        entropy += jnp.where(mine, found, 0)
    log_variance = model.log_variances[...][task]
    values = jnp.exp(-log_variance) * batch["class_weight"] * entropy + log_variance
    return values, batch["set_weight"]
