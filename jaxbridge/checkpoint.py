"""Modules on disk through Orbax, always restored against an abstract target."""

import pathlib
from typing import Any

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
    """Writes every array of a module into the folder `path`, in place of what is there.

    Raises:
        InputError: it cannot be written.
    """
    arrays = {name: np.asarray(array) for name, array in _arrays(module).items()}
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(pathlib.Path(path).absolute(), arrays, force=True)
    except (OSError, ValueError, RuntimeError) as error:
        # TensorStore tells of a full disk by a ValueError.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the checkpoint at {path} cannot be written ({reason[:300]}). Make space, or give a "
            "folder that you may write to."
        ) from error


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
            found = checkpointer.metadata(path).item_metadata
            if found is None:  # what Orbax makes of files that are gone or that it cannot read
                raise ValueError("its list of arrays cannot be read")
            stored = found.tree
            # Orbax cuts or pads an array whose shape differs, and says nothing.
            differing = [
                f"{name} is {_shape(stored.get(name))}, must be {_shape(wanted.get(name))}"
                for name in sorted(stored.keys() | wanted.keys())
                if _shape(stored.get(name)) != _shape(wanted.get(name))
            ]
            if differing:
                raise ValueError("; ".join(differing))
            arrays = checkpointer.restore(path, wanted)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the checkpoint at {path} is damaged or of another module ({reason}); "
            "run the stage that writes it again (--rerun)."
        ) from None
    for name, leaf in nnx.to_flat_state(nnx.state(target)):
        leaf.set_value(jnp.asarray(arrays[".".join(map(str, name))]))


def _shape(leaf: Any) -> tuple[int, ...] | None:
    return None if leaf is None else tuple(leaf.shape)
