"""A new encoder whose embedding takes the place of the teacher's, in front of the teacher's head."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.features.sweep import sweep
from jaxbridge.head import TaskHead
from jaxbridge.methods.gradient import Optimisation, windows_per_step
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training import losses
from jaxbridge.training.engine import AXIS, VALID, Loss, Rows
from model_ports.encoder import token_mean
from model_ports.errors import InputError

EmbeddingLoss = Literal["info_nce", "cosine", "l1", "mse"]


class EmbeddingStudent(nnx.Module):
    """encoder -> token mean -> linear map where widths differ -> the teacher's scale -> its head.

    The teacher's embeddings share a large mean, in front of which they hardly differ by angle. So
    the student learns them centred, in units of their root-mean-square deviation over the pairs.

    Args:
        encoder: signal -> tokens.
        width: of its tokens.
        embeddings: the teacher's, (pairs, features).
        head: the teacher's.
        rngs: source of the linear map's initial values.
    """

    def __init__(
        self, encoder: Callable[[jax.Array], jax.Array], width: int, embeddings: np.ndarray,
        head: TaskHead, *, rngs: nnx.Rngs,
    ):
        features = embeddings.shape[1]
        self.encoder, self.head = encoder, head
        self.projection = None if width == features else nnx.Linear(width, features, rngs=rngs)
        self.mean = nnx.Variable(jnp.asarray(embeddings.mean(axis=0)))
        self.scale = nnx.Variable(jnp.asarray(np.sqrt(embeddings.var(axis=0).mean())))

    def centred(self, signal: jax.Array) -> jax.Array:
        """(batch, ...) signals -> (batch, features), to be the teacher's centred embedding."""
        pooled = token_mean(self.encoder(signal))
        return pooled if self.projection is None else self.projection(pooled)

    def target(self, embeddings: np.ndarray) -> np.ndarray:
        """(k, features) embeddings of the teacher -> the same, centred and scaled."""
        return (embeddings - np.asarray(self.mean[...])) / np.asarray(self.scale[...])

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        return self.head(self.centred(signal) * self.scale[...] + self.mean[...])

    def rescale(self, data: StudyData) -> None:
        """Gives the student's embeddings the mean and the overall deviation of the teacher's.

        Both are over the pairs; a cosine, and InfoNCE, leave them open.
        """
        mine = sweep(
            _centred, self, data.reader(data.new_modality), data.pair, batch_size=data.batch_size,
            what="reading embeddings",
        )
        shift, spread = mine.mean(axis=0), float(np.sqrt(mine.var(axis=0).mean()))
        # A student that says the same of all windows stays where it is.
        self.scale.set_value(self.scale[...] / (spread or 1.0))
        self.mean.set_value(self.mean[...] - jnp.asarray(shift) * self.scale[...])


def embedding_rows(data: StudyData, student: EmbeddingStudent) -> dict[str, Rows]:
    """Returns what reads new signals and centred embeddings of the teacher, for both splits."""
    return {
        split: data.rows(
            split, signals={"signal": data.new_modality},
            arrays={"target": student.target(data.embeddings(data.indices(split)))},
        )
        for split in ("pair", "val")
    }


def check_contrast(name: str, data: StudyData, optimisation: Optimisation) -> None:
    """Refuses InfoNCE of a single window, whose loss is 0 whatever the student says (`InputError`)."""
    if (rows := windows_per_step(data, optimisation)) < 2:
        raise InputError(
            f"{name}: InfoNCE tells the windows of a batch apart and needs at least 2 windows a step, "
            f"not {rows} of {len(data.pair)} pairs; raise the batch size, or give more pairs."
        )


def embedding_loss(name: EmbeddingLoss, temperature: float) -> Loss:
    """Returns the distance of centred embeddings; InfoNCE picks the own one within the batch."""

    def loss(student: EmbeddingStudent, batch: Any) -> tuple[jax.Array, jax.Array]:
        found, target = student.centred(batch["signal"])[:, None], batch["target"][:, None]
        if name == losses.CONTRASTIVE:
            values = losses.info_nce(
                found, target, batch[VALID], temperature=temperature, axis_name=AXIS
            )
        else:
            values = losses.PAIRWISE[name](found, target)
        return values, jnp.ones_like(values)

    return loss


def _centred(student: EmbeddingStudent, signal: jax.Array) -> jax.Array:
    return student.centred(signal)
