"""Predictions from the new modality alone, through the bridge and the old encoder's suffix."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
from flax import nnx

from jaxbridge.bridge import PrototypeBridge
from jaxbridge.head import TaskHead
from jaxbridge.training import trainable
from model_ports import Encoder
from model_ports.batch_groups import recomputed
from model_ports.encoder import Pool, token_mean
from model_ports.errors import InputError


class Position(NamedTuple):
    """Where a bridge sits.

    Attributes:
        m: index of the new encoder's layer whose output is pooled.
        l: index of the old encoder's layer whose input is replaced; `old.num_layers` stands for
            the head itself, which then takes the bridge's single token.
    """

    m: int
    l: int  # noqa: E741 - the paper's letter


def check_position(position: Position, new: Encoder, old: Encoder) -> Position:
    """Refuses a position outside both encoders (`InputError`)."""
    m, l = position  # noqa: E741
    if not 0 <= m < new.num_layers:
        raise InputError(f"m={m}: the new encoder has layers 0 to {new.num_layers - 1}.")
    if not 0 <= l <= old.num_layers:
        raise InputError(
            f"l={l}: the old encoder has layers 0 to {old.num_layers - 1}, "
            f"and {old.num_layers} stands for the head."
        )
    return Position(m, l)


class Suffix(nnx.Module):
    """What a training step runs: the bridge, the old layers l.., and the head."""

    def __init__(self, bridge: PrototypeBridge, old: Encoder, head: TaskHead, start: int):
        self.bridge, self.old, self.head, self.start = bridge, old, head, start

    def last_layer(self, pooled: jax.Array) -> jax.Array:
        """(batch, in_features) -> the old encoder's last-layer output, (batch, tokens, features).

        At the head position there is no layer to run: this is the bridge's output.
        """
        return self.from_tokens(self.bridge(pooled))

    def from_tokens(self, tokens: jax.Array, *, remat: bool = False) -> jax.Array:
        """Runs the old layers behind the bridge on the bridge's output.

        Args:
            tokens: (batch, tokens, features).
            remat: keep no activations inside a layer for the backward pass, compute them again.
        """
        if self.start == self.old.num_layers:
            return tokens
        context = self.head.context_for(tokens.shape[0])
        layers = [(i, i + 1) for i in range(self.start, self.old.num_layers)]
        if not remat or jax.tree.leaves(context):
            # In one go: an encoder that is no chain has to know where the bridge came in.
            layers = [(self.start, self.old.num_layers)]
        for start, stop in layers:
            part = functools.partial(self.old.run, start=start, stop=stop, context=context)
            if remat:
                with recomputed():
                    tokens = jax.checkpoint(part)(tokens)
            else:
                tokens = part(tokens)
        return tokens

    def logits(self, last: jax.Array) -> jax.Array:
        """(batch, tokens, features) of the last layer -> logits (batch, num_classes)."""
        return self.head(token_mean(last))

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """(batch, in_features) -> logits (batch, num_classes)."""
        return self.logits(self.last_layer(pooled))


class BridgedModel(nnx.Module):
    """new prefix -> pool -> bridge -> old suffix -> head, on the new modality alone.

    Args:
        new: encoder of the new modality.
        old: encoder of the old modality.
        bridge: the bridge between them.
        head: the old modality's task head.
        position: (m, l), see `Position`.
        pool: how new layer m's tokens become the bridge's input, see `Encoder.pooled`.

    Raises:
        InputError: the position does not exist.
    """

    def __init__(
        self, new: Encoder, old: Encoder, bridge: PrototypeBridge, head: TaskHead,
        position: Position | tuple[int, int], *, pool: Pool = "mean",
    ):
        self.position = check_position(Position(*position), new, old)
        self.pool = pool
        self.new = new
        self.suffix = Suffix(bridge, old, head, self.position.l)

    @property
    def old(self) -> Encoder:
        return self.suffix.old

    @property
    def bridge(self) -> PrototypeBridge:
        return self.suffix.bridge

    @property
    def head(self) -> TaskHead:
        return self.suffix.head

    def summary(self, suffix_labels: Mapping[str, str] | None = None) -> str:
        """Returns a table of trained and frozen parameters by module.

        Args:
            suffix_labels: from `bridging.trained_labels`; None for the bridge alone being trained.
        """
        parts = nnx.Dict(new=self.new, bridge=self.bridge, old=self.old, head=self.head)
        paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(parts))]
        if suffix_labels is None:
            moves = trainable.preset("bridge")
            suffix_labels = {path: "bridge" if moves(path) else "frozen" for path in paths}
        labels = {path: suffix_labels.get(path, "frozen") for path in paths}
        return trainable.summary(parts, labels)

    def pooled(self, new_signal: jax.Array) -> jax.Array:
        """Returns the bridge's input, (batch, in_features), from new layer m's output."""
        new, stop = self.new, self.position.m + 1
        tokens = new.run(new.embed(new_signal), 0, stop, new.context(new_signal))
        return new.pooled(tokens, self.pool)

    def __call__(self, new_signal: jax.Array) -> jax.Array:
        """Returns logits, (batch, num_classes)."""
        return self.suffix(self.pooled(new_signal))
