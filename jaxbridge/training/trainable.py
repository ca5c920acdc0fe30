"""Which parameters of a bridged path move: named choices, and a summary of what they mean."""

from collections.abc import Callable, Mapping

import numpy as np
from flax import nnx

from model_ports.errors import InputError


def _bridge(path: str) -> bool:
    return path.startswith("bridge.")


def _old_norm(path: str) -> bool:
    owner = path.split(".")[-2]
    return path.startswith("old.") and ("norm" in owner or owner.startswith("bn"))


PRESETS: dict[str, Callable[[str], bool]] = {
    "bridge": _bridge,
    "bridge_and_head": lambda path: path.startswith(("bridge.", "head.layers.")),
    "bridge_and_old_norms": lambda path: _bridge(path) or _old_norm(path),
    "prototypes": lambda path: path == "bridge.prototypes",
    "low_rank": lambda path: path in ("bridge.low_rank_a", "bridge.low_rank_b"),
}


def preset(name: str) -> Callable[[str], bool]:
    """Returns whether a parameter of a `Suffix` moves, by path.

    Args:
        name: "bridge", "bridge_and_head", "bridge_and_old_norms", "prototypes" or "low_rank".

    Raises:
        InputError: another name.
    """
    if name not in PRESETS:
        raise InputError(f"there is no choice {name!r} of what moves; there are {', '.join(PRESETS)}.")
    return PRESETS[name]


def summary(module: nnx.Module, leaf_labels: Mapping[str, str], *, depth: int = 2) -> str:
    """Returns a table of trained and frozen parameters by part of a module.

    Args:
        module: any NNX module.
        leaf_labels: from `training.labels`.
        depth: names of a path that make up a part.
    """
    rows: dict[str, np.ndarray] = {}
    for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param)):
        name = ".".join(map(str, path))
        part = ".".join(map(str, path[: min(depth, len(path) - 1)])) or name
        sizes = rows.setdefault(part, np.zeros(2, np.int64))
        sizes[int(leaf_labels[name] == "frozen")] += leaf[...].size
    rows["total"] = sum(rows.values(), np.zeros(2, np.int64))
    width = max(map(len, rows))
    lines = [f"{'':{width}}  {'trained':>12}  {'frozen':>14}"]
    lines += [f"{part:{width}}  {a:>12,}  {b:>14,}" for part, (a, b) in rows.items()]
    return "\n".join(lines)
