"""Many bridges at one position, trained in one compiled step.

The old layers behind the bridges run once, on the batches of all bridges side by side: an accelerator
that one small bridge leaves idle trains a whole grid in about the time of its largest member.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxbridge.bridge import PrototypeBridge, mixed_prototypes
from jaxbridge.bridged_model import BridgedModel, Suffix
from jaxbridge.training import engine
from jaxbridge.training.alignment import alignment_values
from jaxbridge.training.bridging import BridgeSettings, train_model
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.engine import Batch, Loss
from jaxbridge.training.fitting import Epoch, EpochReport
from jaxbridge.training.optimizers import rate_of
from jaxbridge.training.sources import Source
from model_ports.errors import InputError

# In these the members of a grid may differ.
VARIED = (
    "rank", "num_prototypes", "prototypes", "loss", "temperature", "logit_weight", "learning_rate",
)


def joinable(settings: BridgeSettings) -> BridgeSettings | None:
    """Returns what bridges of one grid have in common; None for one that must train alone.

    Alone trains what stops or is chosen by its own validation loss, clips by its own norm, decays its
    weights, or moves more than the bridge; and what does not train at all.
    """
    alone = (
        settings.trainable != "bridge" or settings.keep != "last" or settings.patience is not None
        or settings.clip_norm is not None or settings.weight_decay or not settings.epochs
    )
    if alone:
        return None
    usual = BridgeSettings()
    return dataclasses.replace(settings, **{name: getattr(usual, name) for name in VARIED})


class BridgeGrid(nnx.Module):
    """Bridges of one shape, stacked: smaller ranks and fewer prototypes are filled up with zeros.

    Zeros stay: their gradients vanish, because each filled part of a factor meets only filled parts
    of the next.

    Args:
        bridges: of one input width, token count, width and layout.
    """

    def __init__(self, bridges: Sequence[PrototypeBridge]):
        first = bridges[0]
        self.tokens, self.features, self.layout = first.tokens, first.features, first.layout
        self.sizes = tuple((b.low_rank_a.shape[1], b.prototypes.shape[0]) for b in bridges)
        rank, count = (max(sizes) for sizes in zip(*self.sizes, strict=True))

        def filled(b: PrototypeBridge) -> tuple[jax.Array, ...]:
            r, p = rank - b.low_rank_a.shape[1], count - b.prototypes.shape[0]
            mixture = b.low_rank_b[...].reshape(b.low_rank_b.shape[0], self.tokens, -1)
            return (
                jnp.pad(b.low_rank_a[...], ((0, 0), (0, r))),
                jnp.pad(mixture, ((0, r), (0, 0), (0, p))).reshape(rank, -1),
                jnp.pad(b.prototypes[...], ((0, p), (0, 0))),
            )

        self.low_rank_a, self.low_rank_b, self.prototypes = (
            nnx.Param(jnp.stack(parts)) for parts in zip(*map(filled, bridges), strict=True)
        )

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """(batch, in_features) -> (bridges, batch, tokens, features)."""
        one = functools.partial(
            mixed_prototypes, pooled, tokens=self.tokens, layout=self.layout
        )
        return jax.vmap(one)(self.low_rank_a[...], self.low_rank_b[...], self.prototypes[...])

    def bridge(self, i: int) -> PrototypeBridge:
        """Returns a bridge by itself."""
        rank, count = self.sizes[i]
        mixture = self.low_rank_b[...][i].reshape(-1, self.tokens, self.prototypes.shape[1])
        found = PrototypeBridge(
            self.low_rank_a.shape[1], self.tokens, self.features, rank=rank, num_prototypes=count,
            layout=self.layout, rngs=nnx.Rngs(0), prototypes=self.prototypes[...][i, :count],
        )
        found.low_rank_a.set_value(self.low_rank_a[...][i, :, :rank])
        found.low_rank_b.set_value(mixture[:rank, :, :count].reshape(rank, -1))
        return found


def train_grid(
    models: Sequence[BridgedModel], settings: Sequence[BridgeSettings],
    pairs: Callable[[engine.Trainer], Source] | Batch,
    val: Callable[[engine.Trainer], Source] | Batch, *, seed: int, num_pairs: int, what: str,
    checkpoints: TrainingCheckpoints | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> tuple[list[BridgedModel], list[Epoch]]:
    """Trains bridges as `train_bridge` trains each of them, up to rounding.

    Args:
        models: with the bridges as they start, at one position between the same encoders.
        settings: of each; they differ in `VARIED` alone.
        pairs, val, seed, num_pairs, what, checkpoints, on_epoch: see `train_bridge`; losses that are
            told are means over the bridges.

    Returns:
        The trained models, and the curve of the mean loss.

    Raises:
        InputError: positions differ, or settings that cannot be trained together; see `train_bridge`.
    """
    if len({model.position for model in models}) != 1:
        raise InputError("bridges of one grid sit at one position.")
    shared = [joinable(one) for one in settings]
    if None in shared or any(one != shared[0] for one in shared):
        raise InputError(f"bridges of one grid may differ in {', '.join(VARIED)} alone.")
    first = models[0]
    grid = BridgeGrid([model.bridge for model in models])
    module = Suffix(grid, first.old, first.head, first.position.l)
    trainer = engine.Trainer(
        module, _loss(settings), engine.labels(module, lambda path: path.startswith("bridge.")),
        _optimizer(settings, shared[0].num_steps(num_pairs)),
    )
    curve = train_model(
        trainer, pairs, val, shared[0], seed=seed, what=what, checkpoints=checkpoints,
        on_epoch=on_epoch,
    )
    trained = trainer.module().bridge
    return [
        BridgedModel(
            model.new, model.old, trained.bridge(i), model.head, model.position, pool=model.pool
        )
        for i, model in enumerate(models)
    ], curve


def _loss(settings: Sequence[BridgeSettings]) -> Loss:
    """Returns the mean loss of all bridges; its gradient is that of each one's own loss, undivided."""
    remat, location = settings[0].remat, settings[0].location
    beyond = location == "last_layer" or any(one.logit_weight for one in settings)

    def loss(suffix: Suffix, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        tokens = suffix.bridge(batch["pooled"])
        last = tokens
        if beyond:
            flat = suffix.from_tokens(tokens.reshape(-1, *tokens.shape[2:]), remat=remat)
            last = flat.reshape(*tokens.shape[:2], *flat.shape[1:])
        values = sum(
            alignment_values(one.alignment, suffix, tokens[i], last[i], batch)
            for i, one in enumerate(settings)
        )
        told = values / len(settings)
        return values + jax.lax.stop_gradient(told - values), jnp.ones_like(values)

    return loss


def _optimizer(settings: Sequence[BridgeSettings], steps: int) -> optax.GradientTransformation:
    """Adam at each bridge's own rate, times the course that their schedule gives all of them."""
    rates = jnp.asarray([one.learning_rate for one in settings])
    course = rate_of(dataclasses.replace(settings[0].optimizer, learning_rate=1.0), steps)
    parts = [optax.scale_by_adam(), _scaled_by(-rates)]
    if callable(course):
        parts.append(optax.scale_by_schedule(course))
    return optax.chain(*parts)


def _scaled_by(rates: jax.Array) -> optax.GradientTransformation:
    def scaled(update: jax.Array) -> jax.Array:
        return update * rates.reshape(-1, *[1] * (update.ndim - 1)).astype(update.dtype)

    return optax.stateless(lambda updates, params: jax.tree.map(scaled, updates))
