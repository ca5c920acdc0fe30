"""Spreading an encoder's weights over the devices of a mesh, by one table of rules."""

import re

import jax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from model_ports.encoder import Encoder
from model_ports.errors import InputError
from model_ports.parameters import parameter_shapes

# (path, axes of the array, which of them are split, best first). The first row that fits counts.
# Kernels end in (features in, features out). The second matrix of an attention or MLP block is
# split by rows and the one before it by columns, so that what is between them stays on its device.
RULES: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    (r".*\b(out|proj|proj\.conv|fc2|mlp_out|pw2\.conv|conv3\.conv|conv_out)\.kernel", 2, (0, 1)),
    (r".*\bkernel", 2, (1, 0)),
    (r".*\bkernel", 3, (2, 1)),
    (r".*\bkernel", 4, (3, 2)),
)


def partition_specs(
    encoder: Encoder, mesh: Mesh, *, axis: str = "model"
) -> dict[str, PartitionSpec]:
    """Returns how `shard` places every array of an encoder.

    Matrices and convolution kernels are split over `axis` along their output features (those that
    end an attention or MLP block: input features). Where the size of the mesh axis does not divide
    these, the other features are split; where it divides neither, and for everything that is no
    kernel (norms, biases, tables, tokens), each device holds a whole copy.

    Args:
        encoder: may be abstract, see `abstract`.
        mesh: devices with named axes.
        axis: name of the mesh axis to split over.

    Returns:
        Path of the array -> its partition.

    Raises:
        InputError: the mesh has no such axis.
    """
    if axis not in mesh.axis_names:
        raise InputError(
            f"the mesh has the axes {', '.join(map(str, mesh.axis_names))} and none called "
            f"{axis!r}; name one of them with axis=..."
        )
    size = mesh.shape[axis]
    return {
        path: _partition(path, shape, size, axis)
        for path, shape in parameter_shapes(encoder).items()
    }


def _partition(path: str, shape: tuple[int, ...], size: int, axis: str) -> PartitionSpec:
    for pattern, ndim, order in RULES:
        if len(shape) == ndim and re.fullmatch(pattern, path):
            for split in order:
                if shape[split] % size == 0:
                    return PartitionSpec(*(axis if i == split else None for i in range(ndim)))
            break
    return PartitionSpec()


def shard(encoder: Encoder, mesh: Mesh, *, axis: str = "model") -> Encoder:
    """Returns the encoder with its weights spread over a mesh, as `partition_specs` says.

    The compiler inserts the communication: call the result inside `jax.jit`, with the signal
    placed on the same mesh, for example split over its other axis by
    `NamedSharding(mesh, PartitionSpec("batch"))`.

    Raises:
        InputError: the mesh has no such axis, or its axes are not of type Auto.
    """
    specs = partition_specs(encoder, mesh, axis=axis)
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise InputError(
            "the mesh must leave placement to the compiler: make it with "
            "jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,) * number of axes)."
        )
    graph, state = nnx.split(encoder)
    leaves = [
        (path, leaf.replace(jax.device_put(
            leaf[...], NamedSharding(mesh, specs[".".join(map(str, path))])
        )))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(leaves))
