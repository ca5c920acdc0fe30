"""Applying a compiled function to many windows, batch by batch, over all local devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbridge.progress import progress

# Reads windows by index: (k,) indices -> (k, ...) array.
Read = Callable[[np.ndarray], np.ndarray]


def sweep(
    function: Callable[[Any, jax.Array], Any],
    module: nnx.Module,
    read: Read,
    indices: np.ndarray,
    *,
    batch_size: int = 32,
    what: str,
    devices: list[jax.Device] | None = None,
) -> Any:
    """Returns `function(module, windows)` for all windows, on the host.

    The module is replicated, each batch is split over the devices, the last one is padded, and the
    next one is read while the devices work.

    Args:
        function: (module, batch of windows) -> arrays with a leading window axis.
        module: passed to `function`.
        read: reads windows by index.
        indices: (n,) which windows.
        batch_size: windows per call; rounded up to a multiple of the number of devices.
        what: for the progress line.
        devices: defaults to all local devices.

    Returns:
        The function's pytree with (n, ...) NumPy arrays.
    """
    devices = devices or jax.local_devices()
    mesh = Mesh(np.array(devices), ("batch",))
    split = NamedSharding(mesh, PartitionSpec("batch"))
    module = jax.device_put(module, NamedSharding(mesh, PartitionSpec()))
    compiled = jax.jit(function)
    size = -(-min(batch_size, len(indices)) // len(devices)) * len(devices)
    starts = range(0, len(indices), size)
    done, running = [], None
    for start in progress(starts, total=len(starts), what=what, unit="step"):
        rows = indices[start : start + size]
        windows = np.asarray(read(rows))
        pad = [(0, size - len(rows))] + [(0, 0)] * (windows.ndim - 1)
        batch = jax.device_put(np.pad(windows, pad, mode="edge"), split)
        if running is not None:
            done.append(_to_host(*running))
        running = compiled(module, batch), len(rows)
    done.append(_to_host(*running))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *done)


def _to_host(tree: Any, rows: int) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[:rows], tree)
