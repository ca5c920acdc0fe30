"""Token means of all layers of an encoder, in one pass over the windows."""


from typing import Any

import jax
import numpy as np

from jaxbridge.sweep import Read, sweep
from model_ports import Activations, Encoder
from model_ports.encoder import token_mean
from model_ports.errors import InputError


def capture(
    encoder: Encoder, read: Read, indices: np.ndarray, *, batch_size: int = 32,
    what: str = "capturing layers",
) -> Activations:
    """Returns the token means of every layer's input and output, (windows, features) each.

    Args:
        encoder: any encoder.
        read: reads signals by window index.
        indices: (n,) which windows.
        batch_size: windows per compiled call.
        what: for the progress line.

    Raises:
        InputError: a layer's features are not finite, or the encoder does not tell windows apart.
    """
    found = sweep(
        lambda encoder, signal: encoder.activations(signal), encoder, read, indices,
        batch_size=batch_size, what=what,
    )
    for i, features in enumerate(found.outputs):
        if not np.isfinite(features).all():
            window = indices[np.argmin(np.isfinite(features).all(axis=1))]
            raise InputError(
                f"layer {i} of {encoder.config.name} gives NaN or infinity for window {window}; "
                "check that window's signal and the encoder's weights."
            )
    return found




def capture_targets(
    encoder: Encoder, read: Read, indices: np.ndarray, *, pooled: bool, batch_size: int = 32,
) -> np.ndarray:
    """Returns the last layer's output, which the bridged path is trained to reproduce.

    Args:
        encoder: the old encoder.
        read: reads old signals by window index.
        indices: (n,) which windows.
        pooled: for a bridge into the head: the token mean, (n, 1, features), in place of all
            tokens, (n, tokens, features).
        batch_size: windows per compiled call.
    """

    def last(encoder: Encoder, signal: jax.Array) -> jax.Array:
        tokens = encoder(signal)
        return token_mean(tokens)[:, None] if pooled else tokens

    return sweep(last, encoder, read, indices, batch_size=batch_size, what="capturing targets")


def mean_context(
    encoder: Encoder, read: Read, indices: np.ndarray, *, batch_size: int = 32
) -> Any:
    """Returns the mean of `encoder.context` over windows, leading axis 1; () for a plain chain.

    A bridged model has no old signal, so it runs on this context: feeding the true old signal at
    test time, as the reference does with ECG-DualNet, is a leak.

    Args:
        encoder: the old encoder.
        read: reads old signals by window index.
        indices: (n,) which windows, those of the old training split.
        batch_size: windows per compiled call.
    """
    signal = jax.ShapeDtypeStruct(read(indices[:1]).shape, np.float32)
    if not jax.tree.leaves(jax.eval_shape(lambda e, x: e.context(x), encoder, signal)):
        return ()
    total, chunk = None, 16 * batch_size  # contexts may be large: summed chunk by chunk
    for start in range(0, len(indices), chunk):
        found = sweep(
            lambda e, x: e.context(x), encoder, read, indices[start : start + chunk],
            batch_size=batch_size, what="averaging the context",
        )
        sums = jax.tree.map(lambda c: c.sum(axis=0, keepdims=True, dtype=np.float64), found)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    return jax.tree.map(lambda c: (c / len(indices)).astype(np.float32), total)
