"""Several processes as one run, under `jax.distributed`.

Every process runs the same program on its own devices and shares a file system with the others; the
first one alone writes what is not written by Orbax. In a program of one process all of this is
immediate.
"""

import itertools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from model_ports.errors import InputError

# A peer that died is noticed by its missing heartbeat; one that merely works long is waited for.
_PATIENCE_MS = 7 * 24 * 3600 * 1000
_HEARTBEAT_S = 20
_numbers = itertools.count()


def asked_for(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether the launcher started several processes.

    It is told by JAX's own variables, SLURM, Open MPI, or the worker list of a Cloud TPU pod.
    """
    if "JAX_COORDINATOR_ADDRESS" in environment:
        return True
    sizes = [environment.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")]
    return max(map(int, sizes)) > 1 or "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def start(environment: Mapping[str, str] = os.environ) -> None:
    """Joins the other processes; nothing of JAX may have run before.

    JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    say who takes part; what is missing is taken from SLURM, Open MPI or the TPU pod.

    Raises:
        InputError: incomplete variables, or the others cannot be reached.
    """
    given = {}
    for argument, name in (("num_processes", "JAX_NUM_PROCESSES"), ("process_id", "JAX_PROCESS_ID")):
        if name in environment:
            try:
                given[argument] = int(environment[name])
            except ValueError:
                raise InputError(f"{name}={environment[name]} is no integer; correct it.") from None
    # Waiting for the slowest host's start is normal; a peer lost later must be noticed soon.
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=_HEARTBEAT_S)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the processes of this run could not join ({reason}). Set JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID on each, or start them by SLURM, Open MPI or on a "
            "TPU pod; see launch/pod.md."
        ) from None


def first() -> bool:
    """Returns whether this is the process that writes files and talks."""
    return jax.process_index() == 0


def several() -> bool:
    return jax.process_count() > 1


def barrier() -> None:
    """Returns when every process has come here, however long the slowest works."""
    if several():
        multihost.get_jax_distributed_client().wait_at_barrier(
            f"jaxbridge/{next(_numbers)}", _PATIENCE_MS
        )


def from_first(compute: Callable[[], Any]) -> Any:
    """Returns in every process what `compute` returns in the first one, where alone it is called.

    Args:
        compute: returns something JSON-able.

    Raises:
        InputError: the first process's, in all of them.
    """
    if not several():
        return compute()
    client, key = multihost.get_jax_distributed_client(), f"jaxbridge/{next(_numbers)}"
    if not first():
        told = json.loads(client.blocking_key_value_get(key, _PATIENCE_MS))
        if "error" in told:
            raise InputError(told["error"])
        return told["value"]
    try:
        value = compute()
    except InputError as error:
        client.key_value_set(key, json.dumps({"error": str(error)}))
        raise
    client.key_value_set(key, json.dumps({"value": value}))
    return value


def same_everywhere(value: str, what: str) -> None:
    """Refuses processes that were started differently.

    Raises:
        InputError: in a process whose value is not the first one's.
    """
    if from_first(lambda: value) != value:
        raise InputError(
            f"process {jax.process_index()} has other {what} than process 0; start all of them with "
            "the same command."
        )


def shares(count: int) -> list[np.ndarray]:
    """Returns which of `count` consecutive things are each process's, as even as can be."""
    return np.array_split(np.arange(count), jax.process_count())


def share(count: int) -> np.ndarray:
    """Returns which of `count` consecutive things are this process's."""
    return shares(count)[jax.process_index()]


def gathered(rows: np.ndarray) -> np.ndarray:
    """Returns all processes' rows, first process first, bit by bit.

    Args:
        rows: (n, ...), with the same n and type in every process.
    """
    if not several():
        return rows
    barrier()  # collectives wait for seconds only
    rows = np.ascontiguousarray(rows)
    # As bytes: JAX would take 64-bit numbers for 32-bit ones.
    flat = rows.view(np.uint8) if rows.ndim else rows.reshape(1).view(np.uint8)
    found = np.asarray(multihost_utils.process_allgather(flat, tiled=True))
    return found.view(rows.dtype).reshape(-1, *rows.shape[1:])
