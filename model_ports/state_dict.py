"""Published state-dict entries -> parameters, strict in both directions."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from model_ports.errors import InputError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one parameter is stored in the published file.

    Attributes:
        convert: published arrays -> our array (a change of layout, never of values, but for
            `WEIGHT_NORM`, which folds two entries into the kernel that they stand for).
        published_shapes: our shape -> shapes of the published entries.
    """

    convert: Callable[..., np.ndarray]
    published_shapes: Callable[[Shape], tuple[Shape, ...]]


SAME = Layout(lambda x: x, lambda s: (s,))
LINEAR = Layout(lambda x: x.T, lambda s: (s[::-1],))
# (out, in, width) -> (width, in, out)
CONV1D = Layout(lambda x: x.transpose(2, 1, 0), lambda s: ((s[2], s[1], s[0]),))
# (out, in, 1, width) -> (width, in, out)
CONV1D_AS_2D = Layout(lambda x: x[:, :, 0].transpose(2, 1, 0), lambda s: ((s[2], s[1], 1, s[0]),))
# (out, in, height, width) -> (height, width, in, out)
CONV2D = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda s: ((s[3], s[2], s[0], s[1]),))


def _fold_weight_norm(gain: np.ndarray, direction: np.ndarray) -> np.ndarray:
    # torch weight_norm(dim=2): one gain per kernel tap, the norm over the two other axes.
    norm = np.sqrt(np.sum(direction.astype(np.float64) ** 2, axis=(0, 1), keepdims=True))
    return (direction * (gain / norm)).astype(np.float32).transpose(2, 1, 0)


# gain (1, 1, width), direction (out, in, width) -> (width, in, out)
WEIGHT_NORM = Layout(_fold_weight_norm, lambda s: ((1, 1, s[0]), (s[2], s[1], s[0])))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter of ours (path joined by '.') and the published entries that it comes from."""

    target: str
    sources: tuple[str, ...]
    layout: Layout = SAME


def entry(target: str, source: str, layout: Layout = SAME) -> Entry:
    return Entry(target, (source,), layout)


def linear(target: str, source: str, *, bias: bool = True) -> list[Entry]:
    """A linear layer: kernel transposed, bias as it is."""
    entries = [entry(f"{target}.kernel", f"{source}.weight", LINEAR)]
    return entries + [entry(f"{target}.bias", f"{source}.bias")] * bias


def norm(target: str, source: str) -> list[Entry]:
    """A layer, group or batch norm's scale and bias."""
    return [
        entry(f"{target}.scale", f"{source}.weight"),
        entry(f"{target}.bias", f"{source}.bias"),
    ]


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What reading a state dict came to.

    Attributes:
        read: published entries used.
        ignored: published entries present and left out by an explicit rule.
        parameters: number of parameter values filled.
    """

    read: tuple[str, ...]
    ignored: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        return (
            f"{len(self.read)} entries read ({self.parameters:,} parameters, all matched), "
            f"{len(self.ignored)} ignored by rule"
        )


def convert(
    state_dict: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    shapes: Mapping[str, Shape],
    ignored: Sequence[str],
    model: str,
) -> tuple[dict[str, np.ndarray], Coverage]:
    """Returns our parameters by path.

    Args:
        state_dict: published names -> arrays.
        entries: the name map; together its targets must be exactly the keys of `shapes`.
        shapes: our parameters' shapes by path.
        ignored: regular expressions of published names that may be present and are not used.
        model: name for messages.

    Raises:
        InputError: entries are missing, unexpected or mis-shaped; all are named, with both shapes.
    """
    if {e.target for e in entries} != set(shapes):
        raise AssertionError(f"{model}: name map and module differ: "
                             f"{sorted({e.target for e in entries} ^ set(shapes))}")
    sources = {name for e in entries for name in e.sources}
    extra = sorted(set(state_dict) - sources)
    left_out = tuple(n for n in extra if any(re.fullmatch(p, n) for p in ignored))
    problems = [f"  unexpected: {n} {_shape(state_dict[n])}" for n in extra if n not in left_out]
    parameters: dict[str, np.ndarray] = {}
    for e in entries:
        wanted = dict(zip(e.sources, e.layout.published_shapes(tuple(shapes[e.target])),
                          strict=True))
        faults = []
        for name, shape in wanted.items():
            if name not in state_dict:
                faults.append(f"  missing: {name} {shape}")
            elif _shape(state_dict[name]) != shape:
                faults.append(
                    f"  mis-shaped: {name} is {_shape(state_dict[name])}, must be {shape}"
                )
        problems += faults
        if not faults:
            arrays = [_float32(n, state_dict[n], model) for n in e.sources]
            parameters[e.target] = np.ascontiguousarray(e.layout.convert(*arrays))
    if problems:
        raise InputError(
            f"the state dict does not fit {model} ({len(problems)} entries):\n"
            + "\n".join(problems)
            + f"\nUse a checkpoint of {model}, or override the configuration that differs."
        )
    count = sum(p.size for p in parameters.values())
    return parameters, Coverage(tuple(sorted(sources)), left_out, count)


def _shape(array: np.ndarray) -> Shape:
    return tuple(int(n) for n in array.shape)


def _float32(name: str, array: np.ndarray, model: str) -> np.ndarray:
    try:
        array = np.asarray(array)
    except (TypeError, RuntimeError):  # a PyTorch tensor in bfloat16, with a gradient, on a GPU
        raise InputError(
            f"{model}: entry {name} is no NumPy array and cannot be made one; "
            "of a PyTorch tensor pass tensor.detach().cpu().float().numpy()."
        ) from None
    if array.dtype.kind not in "fV" and array.dtype.name != "bfloat16":
        raise InputError(f"{model}: entry {name} holds {array.dtype}, not floating-point numbers.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{model}: entry {name} holds NaN or infinity; the file is damaged.")
    return array
