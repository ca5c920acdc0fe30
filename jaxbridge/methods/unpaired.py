"""A bridge that also learns from windows without a partner, for few pairs and many recordings."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbridge.bridged_model import BridgedModel, Suffix
from jaxbridge.methods.bridge import Bridge
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.gradient import Optimisation, train
from jaxbridge.methods.method import Fitted
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training import trainable
from jaxbridge.training.alignment import alignment_values
from jaxbridge.training.bridge_grid import joinable
from jaxbridge.training.bridging import target_kind
from jaxbridge.training.engine import AXIS, VALID
from model_ports.encoder import token_mean
from model_ports.errors import InputError

# Unpaired windows of either kind in a step, at least: of few, the distance is mostly chance.
_STRANGERS = 32


@dataclasses.dataclass(frozen=True)
class UnpairedBridge(Bridge):
    """Aligns pairs, and the distributions of unpaired windows at the last layer.

    To the alignment loss comes the sliced Wasserstein distance (Bonneel et al. 2015) between the
    embeddings that the bridge makes of unpaired new windows and those that the old encoder makes of
    unpaired old ones, each feature divided by its deviation over the latter: the mean squared
    difference of their sorted projections on random directions. Without unpaired windows it is the
    plain bridge.

    Attributes:
        weight: of the distance.
        directions: drawn anew in every step.
    """

    name: str = "bridge, unpaired windows too"
    weight: float = 1.0
    directions: int = 64

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.directions < 1:
            raise InputError("weight must not be negative and directions at least 1.")

    def _fit(self, data: StudyData, seed: int, folder: pathlib.Path | None) -> Fitted:
        others = data.unpaired
        if not len(others):
            return super()._fit(data, seed, folder)
        settings, model = self.settings or data.settings.bridge, self.untrained(data, seed)
        if joinable(settings) is None:
            raise InputError(
                f"{self.name}: takes the settings of a plain bridge alone: no schedule, clipping, "
                "early stopping, local epochs or other trained parts."
            )
        # An epoch goes once through the unpaired windows, and through the pairs as often as needed.
        count = max(len(others), len(data.pair))
        repeated = data.with_pairs(np.resize(data.pair, count))
        batch_size = min(settings.batch_size, count)
        each = -(-_STRANGERS // batch_size)
        rng, layer = np.random.default_rng(seed), model.position.m

        def strangers(windows: np.ndarray, rows: int) -> np.ndarray:
            turns = [np.resize(rng.permutation(windows), rows) for _ in range(each)]
            return np.stack(turns, axis=1)

        spread = data.embeddings(others).std(axis=0)
        spread = np.maximum(spread, 1e-4 * spread.max())

        def arrays(paired: np.ndarray, new: np.ndarray, old: np.ndarray) -> dict[str, np.ndarray]:
            return {
                "pooled": data.new_features.outputs(layer, paired),
                "other": _of(lambda rows: data.new_features.outputs(layer, rows), new),
                "embedding": _of(data.embeddings, old) / spread,
                "logits": data.teacher_logits[paired],
                "row": np.arange(len(paired), dtype=np.int32),
            }

        kind = target_kind(model.old, model.position, settings.location)
        rows = {
            split: repeated.rows(split, kind=kind, arrays=arrays(
                paired, *(strangers(alone, len(paired)) for _ in range(2))
            ))
            for split, paired, alone in (("pair", repeated.pair, others), ("val", data.val, data.val))
        }
        spread = jnp.asarray(spread)

        def loss(suffix: Suffix, batch: Any) -> tuple[jax.Array, jax.Array]:
            size = len(batch["pooled"])
            other = batch["other"].reshape(-1, batch["other"].shape[2])
            tokens = suffix.bridge(jnp.concatenate([batch["pooled"], other]))
            last = suffix.from_tokens(tokens, remat=settings.remat)
            values = alignment_values(
                settings.alignment, suffix, tokens[:size], last[:size], batch
            )
            made = token_mean(last[size:]) / spread
            return values + self.weight * self._distance(made, batch, seed), jnp.ones_like(values)

        found = train(
            repeated, model.suffix, loss, trainable.preset(settings.trainable), rows,
            Optimisation(
                settings.learning_rate, max(1, round(settings.epochs * len(data.pair) / count)),
                batch_size, settings.keep,
            ),
            seed=seed, what=f"training {self.name}", folder=folder,
            about={"method": dataclasses.asdict(self), "unpaired": others.tolist()},
        )
        suffix = found.module
        trained = BridgedModel(
            data.new, suffix.old, suffix.bridge, suffix.head, model.position, pool=settings.pool
        )
        counts = count_parameters(
            trained, data.shapes[0], lambda path: path.removeprefix("suffix.") in found.trained
        )
        return Fitted(
            trained, "new", *counts, program=found.program, train_samples=found.samples,
            curve=found.curve, epoch_s=found.epoch_s, details={"position": list(model.position)},
        )

    def _distance(self, made: jax.Array, batch: Any, seed: int) -> jax.Array:
        """Over the batches of all devices together."""
        each = batch["embedding"].shape[1]
        real = batch["embedding"].reshape(made.shape)
        valid = jnp.repeat(batch[VALID], each) > 0
        row = jnp.repeat(batch["row"], each)
        made, real, valid, row = (
            jax.lax.all_gather(x, AXIS, tiled=True) for x in (made, real, valid, row)
        )
        key = jax.random.fold_in(jax.random.key(seed), jnp.sum(jnp.where(valid, row, 0)))
        valid = valid[:, None]
        axes = jax.random.normal(key, (made.shape[1], self.directions))
        axes /= jnp.linalg.norm(axes, axis=0)
        # Rows that only fill the batch up come last on both sides, and are equal there.
        first, second = (
            jnp.sort(jnp.where(valid, x @ axes, jnp.inf), axis=0) for x in (made, real)
        )
        apart = jnp.where(jnp.isfinite(first), first - second, 0)
        return jnp.sum(apart**2) / (self.directions * jnp.sum(valid))


def _of(read: Callable[[np.ndarray], np.ndarray], indices: np.ndarray) -> np.ndarray:
    """Reads rows for indices of any shape."""
    found = read(indices.reshape(-1))
    return found.reshape(*indices.shape, -1)
