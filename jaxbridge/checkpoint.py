"""Modules on disk through Orbax, always restored against an abstract target."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from model_ports.errors import InputError


def _arrays(module: nnx.Module) -> dict[str, jax.Array]:
    return {
        ".".join(map(str, path)): leaf[...]
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def save_module(path: str | pathlib.Path, module: nnx.Module) -> None:
    """Writes every array of a module into the new folder `path`."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(
            pathlib.Path(path).absolute(),
            {name: np.asarray(array) for name, array in _arrays(module).items()},
        )


def restore_module(path: str | pathlib.Path, target: nnx.Module) -> None:
    """Fills `target` with the arrays that `save_module` wrote.

    Raises:
        InputError: no checkpoint there, or one of another module.
    """
    path = pathlib.Path(path).absolute()
    wanted = {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype)
        for name, array in _arrays(target).items()
    }
    if not path.is_dir():
        raise InputError(f"there is no checkpoint at {path}; run the stage that writes it again.")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(path, wanted)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the checkpoint at {path} is damaged or of another module ({reason}); "
            "run the stage that writes it again."
        ) from None
    for name, leaf in nnx.to_flat_state(nnx.state(target)):
        leaf.set_value(jnp.asarray(arrays[".".join(map(str, name))]))
