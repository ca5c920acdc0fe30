"""What a training step needs, read off compiled programs that are never run.

`--what=remat`: memory with activations kept and recomputed. `--what=scaling`: work per device, of a
step and of capturing all layers of the new encoder.
"""

import dataclasses
import json
import math
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge import BridgedModel, BridgeSettings, Position, TaskHead
from jaxbridge.features.layout import FeatureLayout
from jaxbridge.features.sweep import lowered
from jaxbridge.training.bridging import bridge_trainer, new_bridge
from launch.benchmarks import tables
from launch.published.directions import DIRECTIONS

# (name, old, new, windows' shapes, position, bridge): three published directions, and ECG-FM as the
# old encoder of a minute.
_DIRECTIONS = ("wesad_ppg2ecg", "isruc_eeg2ecg", "fog_emg2eeg")
_ECG_FM = (
    "ecg_fm, 60 s", "ecg_fm", "papagei", ((1, 7500), (12, 30000)), Position(17, 6),
    BridgeSettings(rank=8, num_prototypes=50),
)
_SIZES = {"f32": 4, "f64": 8, "s32": 4, "u32": 4, "pred": 1, "bf16": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compiled.

    Attributes:
        what: "remat" or "scaling".
        batch: windows per step, over all devices.
        directions: published directions.
        ecg_fm: also a bridge into ECG-FM, for "remat".
    """

    what: str
    batch: int = 16
    directions: tuple[str, ...] = _DIRECTIONS
    ecg_fm: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """MB (2**20 bytes) of one compiled step, without and with rematerialisation.

    Attributes:
        what: old encoder, layers behind the bridge.
        batch: windows per step.
        weights_mb: arguments: weights, optimizer state and captured windows.
        kept_mb, recomputed_mb: intermediate arrays without and with `remat`.
        compile_s: of both programs.
    """

    what: str
    batch: int
    weights_mb: float
    kept_mb: float
    recomputed_mb: float
    compile_s: float
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """What one of several devices does in a step.

    Attributes:
        what: direction.
        devices: over which the batch is split.
        windows: of the batch on a device.
        gflop: floating-point operations of one device's program, in 1e9.
        share: of those of one device alone.
        collectives: all-reduces of a step.
        collective_mb: their size, in MB.
    """

    what: str
    devices: int
    windows: int
    gflop: float
    share: float
    collectives: int
    collective_mb: float
    note: str = ""


def run(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Compiles, and returns what `table` and `write` take.

    Raises:
        InputError: "scaling" with one device.
    """
    if settings.what == "scaling" and jax.device_count() == 1:
        raise mp.InputError(
            "one device cannot share its work; simulate some with "
            "XLA_FLAGS=--xla_force_host_platform_device_count=8."
        )
    rows = []
    for row in (_memory if settings.what == "remat" else _scaling)(settings):
        rows.append(dataclasses.asdict(row))
        tell(tables.line(_columns(settings.what), row))
    return {"settings": dataclasses.asdict(settings), "rows": rows}


def _cases(settings: Settings) -> Iterator[tuple[str, BridgedModel, BridgeSettings, tuple[int, int]]]:
    cases = [
        (name, d.old, d.new, (d.new_signal, d.old_signal), d.position, d.bridge)
        for name, d in ((name, DIRECTIONS[name]) for name in settings.directions)
    ]
    for name, old, new, windows, position, bridge in cases + [_ECG_FM] * settings.ecg_fm:
        old, new = mp.create(old, rngs=nnx.Rngs(0)), mp.abstract(new)
        shapes = tuple((1, *shape) for shape in windows)
        target = old.layer_shape(old.num_layers, shapes[1])
        head = TaskHead(target[1], 2, rngs=nnx.Rngs(1))
        model = BridgedModel(
            new, old, new_bridge(new, old, position, shapes, bridge, seed=2), head, position
        )
        yield name, model, bridge, target


def _lowered(
    model: BridgedModel, settings: BridgeSettings, target: tuple[int, int], batch: int,
    devices: int | None = None,
) -> jax.stages.Lowered:
    trainer = bridge_trainer(
        model, settings, devices=None if devices is None else jax.devices()[:devices]
    )
    data = {
        "pooled": np.zeros((batch, model.bridge.low_rank_a.shape[0]), np.float32),
        "target": np.zeros((batch, *target), np.float32),
    }
    return trainer.lower(data, np.arange(batch), batch)


def _memory(settings: Settings) -> Iterator[Memory]:
    for name, model, bridge, target in _cases(settings):
        found, start = [], time.monotonic()
        for remat in (False, True):
            chosen = dataclasses.replace(bridge, remat=remat)
            program = _lowered(model, chosen, target, settings.batch).compile()
            found.append(program.memory_analysis())
        yield Memory(
            what=f"{name}, layers {model.position.l} to {model.old.num_layers - 1}",
            batch=settings.batch, weights_mb=found[0].argument_size_in_bytes / 2**20,
            kept_mb=found[0].temp_size_in_bytes / 2**20,
            recomputed_mb=found[1].temp_size_in_bytes / 2**20,
            compile_s=time.monotonic() - start,
        )


def _scaling(settings: Settings) -> Iterator[Share]:
    for name in settings.directions:
        new, signal = mp.abstract(DIRECTIONS[name].new), DIRECTIONS[name].new_signal
        function = FeatureLayout.of(new, signal, "mean").function("mean")
        yield from _shares(
            f"capture, {name}", settings.batch,
            lambda count, *of: lowered(*of, settings.batch, jax.devices()[:count]),
            function, new, signal,
        )
    for name, model, bridge, target in _cases(settings):
        yield from _shares(
            name, settings.batch,
            lambda count, *of: _lowered(*of, settings.batch, count), model, bridge, target,
        )


def _shares(
    name: str, batch: int, lower: Callable[..., jax.stages.Lowered], *arguments: Any
) -> Iterator[Share]:
    """What a device does in `lower(count, *arguments)`, for 1, 2, 4 ... devices."""
    alone, count = None, 1
    while count <= jax.device_count():
        program = lower(count, *arguments).compile()
        gflop = program.cost_analysis()["flops"] / 1e9
        alone = alone or gflop
        # a sum over one device moves nothing
        sizes = collective_bytes(program.as_text()) if count > 1 else []
        yield Share(
            what=name, devices=count, windows=-(-batch // count), gflop=gflop,
            share=gflop / alone, collectives=len(sizes), collective_mb=sum(sizes) / 2**20,
        )
        count *= 2


def collective_bytes(program: str) -> list[int]:
    """Returns the bytes that each collective of a compiled program's text gives to a device."""
    found = re.findall(
        r"= (\(?[^=]*?\)?) (?:all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)"
        r"(?:-start)?\(", program,
    )
    return [
        sum(
            _SIZES[kind] * math.prod(int(size) for size in shape.split(",") if size)
            for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        )
        for shapes in found
    ]


def _columns(what: str) -> tuple[tables.Column, ...]:
    if what == "remat":
        return (
            ("what", "step", "{:<}", 32), ("batch", "batch", "{}", 5),
            ("weights_mb", "weights and windows MB", "{:.0f}", 22),
            ("kept_mb", "activations kept MB", "{:.0f}", 19),
            ("recomputed_mb", "recomputed MB", "{:.0f}", 13),
            ("compile_s", "compile s", "{:.0f}", 9),
        )
    return (
        ("what", "step", "{:<}", 24), ("devices", "devices", "{}", 7),
        ("windows", "windows each", "{}", 12), ("gflop", "GFLOP each", "{:.2f}", 10),
        ("share", "of one", "{:.3f}", 6), ("collectives", "all-reduces", "{}", 11),
        ("collective_mb", "MB", "{:.2f}", 7),
    )


def header() -> str:
    """What the progress lines are."""
    return "training steps, compiled and not run"


def table(report: Mapping[str, Any]) -> str:
    """The whole table as Markdown."""
    what = report["settings"]["what"]
    kind = Memory if what == "remat" else Share
    return tables.markdown(_columns(what), [kind(**row) for row in report["rows"]])


def write(report: Mapping[str, Any], out: pathlib.Path) -> None:
    """Writes remat.json or scaling.json into folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{report['settings']['what']}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
