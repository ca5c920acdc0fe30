"""Applying a compiled function to many windows, batch by batch, over all local devices."""

import collections
import concurrent.futures
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbridge import hosts
from jaxbridge.progress import progress
from model_ports.errors import InputError

# Reads windows by index: (k,) indices -> (k, ...) array. Called from a thread of the sweep's.
Read = Callable[[np.ndarray], np.ndarray]
# Batches that are read ahead.
_AHEAD = 2


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

    Several processes share the windows out, and each gets all results.

    Args:
        function, module, read, indices, batch_size, what, devices: see `batches`.

    Returns:
        The function's pytree with (n, ...) NumPy arrays.

    Raises:
        InputError: no windows.
    """
    if not len(indices):
        raise InputError(f"{what}: there are no windows; give at least one index.")
    # Shares are equally long: the last ones repeat the last window.
    size = -(-len(indices) // jax.process_count())
    rows = np.minimum(jax.process_index() * size + np.arange(size), len(indices) - 1)
    done = list(
        batches(
            function, module, read, np.asarray(indices)[rows], batch_size=batch_size, what=what,
            devices=devices,
        )
    )
    return jax.tree.map(
        lambda *parts: hosts.gathered(np.concatenate(parts))[: len(indices)], *done
    )


def batches(
    function: Callable[[Any, jax.Array], Any],
    module: nnx.Module,
    read: Read,
    indices: np.ndarray,
    *,
    batch_size: int = 32,
    start: int = 0,
    what: str,
    devices: list[jax.Device] | None = None,
) -> Iterator[Any]:
    """Yields `function(module, windows)` batch by batch, on the host.

    The module is replicated, each batch is split over the devices, and the last one is padded.
    While the devices work, the next batches are read and the caller uses the one before.

    Args:
        function: (module, batch of windows) -> arrays with a leading window axis. It is compiled
            once per process if it is the same or an equal object each time, so rather a function of
            a module than a lambda.
        module: passed to `function`.
        read: reads windows by index.
        indices: (n,) which windows.
        batch_size: windows per call; rounded up to a multiple of the number of devices.
        start: leaves out indices[:start]. At a multiple of the rounded batch size, batches are the
            same as without it, and so is every bit of the result.
        what: for the progress line.
        devices: defaults to all local devices.

    Yields:
        The function's pytree with (k, ...) NumPy arrays, for consecutive parts of `indices`.

    Raises:
        InputError: no windows.
    """
    if not len(indices):
        raise InputError(f"{what}: there are no windows; give at least one index.")
    devices = devices or jax.local_devices()
    mesh = Mesh(np.array(devices), ("batch",))
    split = NamedSharding(mesh, PartitionSpec("batch"))
    # Plain leaves: flattening a module anew costs milliseconds per call.
    leaves, structure = jax.tree.flatten(
        jax.device_put(module, NamedSharding(mesh, PartitionSpec()))
    )
    size = call_size(batch_size, len(indices), devices)

    def load(rows: np.ndarray) -> jax.Array:
        windows = np.asarray(read(rows))
        if missing := size - len(rows):
            windows = np.concatenate([windows, np.repeat(windows[-1:], missing, axis=0)])
        return jax.device_put(windows, split)

    parts = [indices[i : i + size] for i in range(start, len(indices), size)]
    reader = concurrent.futures.ThreadPoolExecutor(1, "reader")
    try:
        waiting = collections.deque(reader.submit(load, rows) for rows in parts[:_AHEAD])
        running = None
        for i, rows in enumerate(progress(parts, what=what, unit="step")):
            batch = waiting.popleft().result()
            if i + _AHEAD < len(parts):
                waiting.append(reader.submit(load, parts[i + _AHEAD]))
            found = _apply(function, structure, mesh, leaves, batch)
            jax.tree.map(lambda x: x.copy_to_host_async(), found)
            if running is not None:
                yield _to_host(*running)
            running = found, len(rows)
        if running is not None:
            yield _to_host(*running)
    finally:
        reader.shutdown(cancel_futures=True)


def lowered(
    function: Callable[[Any, jax.Array], Any], module: nnx.Module, shape: tuple[int, ...],
    batch_size: int, devices: list[jax.Device],
) -> jax.stages.Lowered:
    """Returns the program of one call of `batches`, not yet compiled.

    Args:
        function, batch_size, devices: see `batches`.
        module: its leaves may be shapes, such as `model_ports.abstract` makes.
        shape: of one window.
    """
    mesh = Mesh(np.array(devices), ("batch",))
    every, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: module))
    leaves = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=every) for x in leaves]
    size = call_size(batch_size, batch_size, devices)
    windows = jax.ShapeDtypeStruct((size, *shape), np.float32, sharding=split)
    return _apply.lower(function, structure, mesh, leaves, windows)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
    function: Callable, structure: Any, mesh: Mesh, leaves: list[jax.Array], windows: jax.Array
) -> Any:
    # Each device by itself: left to XLA's partitioner, a grouped convolution is not split by windows.
    each = jax.shard_map(
        lambda leaves, windows: function(jax.tree.unflatten(structure, leaves), windows), mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("batch")), out_specs=PartitionSpec("batch"),
        check_vma=False,
    )
    return each(leaves, windows)


def call_size(batch_size: int, count: int, devices: list[jax.Device] | None = None) -> int:
    """Returns how many windows go into one call: whole shares of the devices."""
    shares = len(devices or jax.local_devices())
    return -(-min(batch_size, count) // shares) * shares


def _to_host(tree: Any, rows: int) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[:rows], tree)
