"""Pooled features of all layers of an encoder, in one pass over the windows."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxbridge import hosts
from jaxbridge.features.layout import FeatureLayout
from jaxbridge.features.sweep import Read, batches
from model_ports import Activations, Encoder, check_collapse
from model_ports.encoder import Pool
from model_ports.errors import InputError


def capture(
    encoder: Encoder, read: Read, indices: np.ndarray, *, pool: Pool = "mean",
    batch_size: int = 32, what: str = "capturing layers",
) -> Activations:
    """Returns the pooled input and output of every layer, (windows, features) each, in memory.

    For more windows than memory holds, `jaxbridge.features.store.ensure_features`.

    Args:
        encoder: any encoder.
        read: reads signals by window index.
        indices: (n,) which windows.
        pool: as for `Encoder.activations`.
        batch_size: windows per compiled call.
        what: for the progress line.

    Raises:
        InputError: a layer's features are not finite, or the encoder does not fit.

    Warns:
        CollapseWarning: the encoder does not tell the windows of the first batch apart.
    """
    layout = FeatureLayout.of(encoder, read(indices[:1]).shape[1:], pool)
    rows = captured_rows(
        encoder, layout, read, indices, pool=pool, batch_size=batch_size, what=what
    )
    return layout.activations(np.concatenate(list(rows)))


def captured_rows(
    encoder: Encoder, layout: FeatureLayout, read: Read, indices: np.ndarray, *, pool: Pool,
    batch_size: int, what: str, start: int = 0, devices: list[jax.Device] | None = None,
) -> Iterator[np.ndarray]:
    """Yields the features of consecutive windows as rows, (k, layout.row_width) float32.

    Args:
        encoder: any encoder.
        layout: what a row holds, of this encoder and pooling.
        read, indices, batch_size, what, start, devices: see `jaxbridge.features.sweep.batches`.
        pool: as for `Encoder.activations`.

    Raises:
        InputError: features that are not finite, naming the first such layer and window.

    Warns:
        CollapseWarning: the encoder does not tell the windows of the first batch apart.
    """
    checked = False
    for rows in batches(
        layout.function(pool), encoder, read, indices, batch_size=batch_size, start=start,
        what=what, devices=devices,
    ):
        finite = np.isfinite(rows)
        if not finite.all():
            name, row = min(
                ((name, np.argmin(finite[:, columns].all(axis=1)))
                 for name, columns in layout.columns().items() if not finite[:, columns].all()),
                key=lambda found: found[1],
            )  # fmt: skip
            side, _, layer = name.partition("_")
            where = f"the {side} of layer {layer}" if layer else "the final embedding"
            raise InputError(
                f"{where} of {encoder.config.name} is NaN or infinite for window "
                f"{indices[start + row]}; check that window's signal and the encoder's weights."
            )
        if not checked:
            check_collapse(layout.activations(rows), encoder.config.name)
            checked = True
        start += len(rows)
        yield rows


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
    shapes = jax.eval_shape(_context, encoder, signal)
    if not jax.tree.leaves(shapes):
        return ()
    total = jax.tree.map(lambda c: np.zeros(c.shape, np.float64), shapes)
    mine = np.asarray(indices)[hosts.share(len(indices))]
    if len(mine):
        for found in batches(
            _context, encoder, read, mine, batch_size=batch_size, what="averaging the context",
        ):
            sums = jax.tree.map(lambda c: c.sum(axis=0, keepdims=True, dtype=np.float64), found)
            total = jax.tree.map(np.add, total, sums)
    total = jax.tree.map(lambda c: hosts.gathered(c).sum(axis=0, keepdims=True), total)
    return jax.tree.map(lambda c: (c / len(indices)).astype(np.float32), total)


def _context(encoder: Encoder, signal: jax.Array) -> Any:
    return encoder.context(signal)
