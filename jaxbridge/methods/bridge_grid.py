"""Bridges of a study that differ in their settings alone, trained together."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence

from jaxbridge.methods.bridge import Bridge
from jaxbridge.methods.cost import count_parameters
from jaxbridge.methods.gradient import EpochSeconds, checkpoints
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.study_data import StudyData
from jaxbridge.training.bridge_grid import joinable

# Activations of so many bridges are held at a time.
MOST = 16


def grids(methods: Sequence[Method], data: StudyData) -> list[list[int]]:
    """Returns which methods can be fitted by `fit_grid`: lists of two indices or more."""
    found: dict[tuple, list[int]] = {}
    for i, method in enumerate(methods):
        if type(method) is Bridge and (shared := joinable(method.settings_for(data))) is not None:
            found.setdefault((shared, method.position), []).append(i)
    parts = [some[i : i + MOST] for some in found.values() for i in range(0, len(some), MOST)]
    return [part for part in parts if len(part) > 1]


def fit_grid(
    bridges: Sequence[Bridge], data: StudyData, seed: int, *, folder: pathlib.Path | None = None
) -> list[Fitted]:
    """Fits bridges in one compiled step, each up to rounding as its own `fit` would.

    Time is shared out evenly; there is no training curve of each.

    Args:
        bridges: one of the lists of `grids`.
        data, seed, folder: see `Method.fit`.

    Raises:
        InputError: see `train_grid`; one bridge whose loss is not finite stops all.
        Preempted: see `Method.fit`.
    """
    for bridge in bridges:
        bridge.capture(data)
    settings = [bridge.settings_for(data) for bridge in bridges]
    models = [bridge.untrained(data, seed) for bridge in bridges]
    seconds, started = EpochSeconds(), time.monotonic()
    resumed = folder is not None and (folder / "training").exists()
    about = {"grid": [dataclasses.asdict(bridge) for bridge in bridges], "seed": seed}
    with checkpoints(folder, data, about) as kept:
        trained, curve = data.train_grid(
            models, settings, seed=seed, what=f"training {len(bridges)} bridges", checkpoints=kept,
            on_epoch=seconds.add,
        )
    share = 1 / len(bridges)
    wall_s = share * (time.monotonic() - started)
    if resumed:  # its clock began anew
        wall_s = max(wall_s, share * seconds.median() * len(curve))
    return [
        Fitted(
            model, "new",
            *count_parameters(model, data.shapes[0], lambda path: path.startswith("suffix.bridge.")),
            program=bridge.step(data, start), train_samples=len(curve) * len(data.pair),
            epoch_s=share * seconds.median(), wall_s=wall_s,
            details={"position": list(model.position), "trained_with": len(bridges) - 1},
        )
        for bridge, start, model in zip(bridges, models, trained, strict=True)
    ]
