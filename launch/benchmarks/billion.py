"""A bridge between two encoders of a billion parameters, compiled but never allocated.

LaBraM-shaped encoders exist as shapes only; the training step of a bridge between them is compiled
for meshes of devices, windows split over one axis and every matrix over the other, and the compiled
program says how much memory each device would need.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import model_ports as mp
from jaxbridge import BridgedModel, BridgeSettings, Position, PrototypeBridge, TaskHead
from jaxbridge.training.alignment import alignment_loss

PROGRAMS = ("capture", "step")


class Layout(NamedTuple):
    """A mesh: devices that share out the windows, and devices that share out the weights."""

    batch: int
    model: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.model}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compiled.

    Attributes:
        depth, features, num_heads: of both encoders.
        seconds: length of a window of six leads.
        batch: windows per step.
        start: old layer that the bridge stands before.
        remat: recompute activations in the backward pass.
    """

    depth: int = 21
    features: int = 2000
    num_heads: int = 20
    seconds: int = 30
    batch: int = 16
    start: int = 10
    remat: bool = False


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Compiles the capture of the new encoder and the step of the bridge; returns figures.

    Memory is in bytes per device: weights and other arguments, results, temporaries. The meshes are
    weights over all devices, and where their number is even windows over two.

    Raises:
        InputError: there is one device only.
    """
    count = len(jax.devices())
    if count == 1:
        raise mp.InputError(
            "one device has nothing to spread weights over; simulate some with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=8."
        )
    encoder = mp.abstract(
        "labram", depth=settings.depth, features=settings.features, num_heads=settings.num_heads,
        mlp_features=4 * settings.features, stem_channels=settings.features // 25,
    )
    parameters = sum(x.size for x in jax.tree.leaves(nnx.state(encoder, nnx.Param)))
    tell(f"{parameters / 1e9:.2f} billion parameters each, {count} devices")
    layouts = [Layout(1, count), Layout(2, count // 2)] if count % 2 == 0 else [Layout(1, count)]
    return {
        "parameters": parameters, "devices": count, **dataclasses.asdict(settings),
        "meshes": {str(layout): _compiled(encoder, settings, layout, tell) for layout in layouts},
    }


def _compiled(
    encoder: mp.Encoder, settings: Settings, layout: Layout, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Returns the figures of both programs on one mesh."""
    mesh = Mesh(np.array(jax.devices()).reshape(layout), layout._fields)
    model = nnx.eval_shape(lambda: _model(encoder, settings))
    specs = mp.partition_specs(encoder, mesh)
    window = (settings.batch, 6, settings.seconds, 200)
    report = {}

    def compiled(name: str, function: Callable, *arguments: Any) -> None:
        start = time.monotonic()
        program = jax.jit(function).lower(*arguments).compile()
        memory = program.memory_analysis()
        report[name] = {
            "compile_s": time.monotonic() - start,
            "arguments_bytes": memory.argument_size_in_bytes,
            "results_bytes": memory.output_size_in_bytes,
            "temporary_bytes": memory.temp_size_in_bytes,
        }
        total = sum(report[name][f"{k}_bytes"] for k in ("arguments", "results", "temporary"))
        tell(
            f"{name}, {layout} devices: {total / 1e9:.2f} GB per device, compiled in "
            f"{report[name]['compile_s']:.0f} s"
        )

    signal = _everywhere(mesh, jax.ShapeDtypeStruct(window, jnp.float32), PartitionSpec("batch"))
    graph, state = nnx.split(encoder)
    state = _placed(state, mesh, lambda path: specs[path])
    compiled(
        "capture", lambda s, x: nnx.merge(graph, s).activations(x).outputs, state, signal
    )
    graph, bridge, rest = nnx.split(model.suffix, nnx.PathContains("bridge"), ...)
    bridge = _placed(bridge, mesh, lambda path: PartitionSpec())
    rest = _placed(rest, mesh, lambda path: specs.get(path.removeprefix("old."), PartitionSpec()))
    loss = alignment_loss(BridgeSettings().alignment, remat=settings.remat)
    adam = optax.adam(1e-3)

    def step(bridge: Any, moments: Any, rest: Any, batch: Any) -> Any:
        def mean(bridge: Any) -> jax.Array:
            return loss(nnx.merge(graph, bridge, rest), batch)[0].mean()

        value, gradients = jax.value_and_grad(mean)(bridge)
        updates, moments = adam.update(gradients, moments, bridge)
        return optax.apply_updates(bridge, updates), moments, value

    tokens = 6 * settings.seconds + 1
    batch = {
        "pooled": jax.ShapeDtypeStruct((settings.batch, settings.features), jnp.float32),
        "target": jax.ShapeDtypeStruct((settings.batch, tokens, settings.features), jnp.float32),
    }
    batch = _everywhere(mesh, batch, PartitionSpec("batch"))
    moments = _everywhere(mesh, jax.eval_shape(adam.init, bridge), PartitionSpec())
    compiled("step", step, bridge, moments, rest, batch)
    return report


def header() -> str:
    """The table's first line."""
    return "program  windows x weights  GB per device: arguments  results  temporary  compile s"


def table(report: Mapping[str, Any]) -> str:
    """The whole table, sizes below it."""
    lines = [header()]
    for layout, programs in report["meshes"].items():
        for name in PROGRAMS:
            found = programs[name]
            arguments, results, temporary = (
                found[f"{k}_bytes"] / 1e9 for k in ("arguments", "results", "temporary")
            )
            lines.append(
                f"{name:8} {layout:>17} {arguments:25.2f} {results:8.2f} {temporary:10.2f} "
                f"{found['compile_s']:10.1f}"
            )
    lines.append(
        f"two LaBraM-shaped encoders of {report['parameters'] / 1e9:.3f} billion parameters, float32, "
        f"{report['devices']} devices, batch {report['batch']}, bridge before layer "
        f"{report['start']} of {report['depth']}"
    )
    return "\n".join(lines)


def write(report: Mapping[str, Any], out: pathlib.Path) -> None:
    """Writes billion.json into folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "billion.json").write_text(json.dumps(report, indent=1) + "\n")


def _model(encoder: mp.Encoder, settings: Settings) -> BridgedModel:
    """Called under `nnx.eval_shape`: nothing in it is ever allocated."""
    build = type(encoder)
    bridge = PrototypeBridge(
        settings.features, 6 * settings.seconds + 1, settings.features, rank=32, num_prototypes=50,
        rngs=nnx.Rngs(0),
    )
    head = TaskHead(settings.features, 2, rngs=nnx.Rngs(1))
    new, old = (build(encoder.config, rngs=nnx.Rngs(i)) for i in (2, 3))
    return BridgedModel(new, old, bridge, head, Position(settings.depth - 1, settings.start))


def _placed(state: Any, mesh: Mesh, spec: Callable[[str], PartitionSpec]) -> Any:
    def place(path: tuple, leaf: nnx.Variable) -> nnx.Variable:
        value = leaf.get_value()
        where = NamedSharding(mesh, spec(".".join(map(str, path))))
        return leaf.replace(jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=where))

    return nnx.from_flat_state([(p, place(p, v)) for p, v in nnx.to_flat_state(state)])


def _everywhere(mesh: Mesh, tree: Any, spec: PartitionSpec) -> Any:
    """Places every array of a tree alike."""
    here = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree
    )
