"""An encoder's parameters as a flat dictionary, path -> array."""

import hashlib

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports.encoder import Encoder


def _flat(encoder: Encoder) -> dict[str, nnx.Variable]:
    state = nnx.state(encoder)
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def parameters(encoder: Encoder) -> dict[str, np.ndarray]:
    """Returns every array of the encoder by path, on the host."""
    return {path: np.asarray(leaf[...]) for path, leaf in _flat(encoder).items()}


def parameter_shapes(encoder: Encoder) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array of the encoder, which may be abstract."""
    return {path: tuple(leaf.shape) for path, leaf in _flat(encoder).items()}


def fill(target: Encoder, arrays: dict[str, np.ndarray]) -> Encoder:
    """Returns the abstract encoder `target` with `arrays` (same paths and shapes) as weights."""
    graph, state = nnx.split(target)
    leaves = [
        (path, leaf.replace(jnp.asarray(arrays[".".join(map(str, path))])))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def weights_hash(encoder: Encoder) -> str:
    """Returns a SHA-256 over names, shapes and bytes of all weights, in order of name."""
    digest = hashlib.sha256()
    for path, array in sorted(parameters(encoder).items()):
        digest.update(f"{path}{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
