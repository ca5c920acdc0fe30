"""Files of named arrays (MAT, HDF5, NPZ) as leads."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxbridge.data.recordings.contents import Contents, Lead
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError

# Shorter arrays are settings, not signals.
_MIN_SAMPLES = 16


def as_leads(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], np.ndarray],
    options: FileOptions,
    unit: Callable[[str], str | None] = lambda name: None,
    rate: Callable[[str], float | None] = lambda name: None,
) -> Contents:
    """Makes leads of numeric arrays.

    Args:
        path: the file.
        shapes: of its numeric arrays.
        read: an array by name.
        options: `array`, `lead_names` and `rate_from`.
        unit, rate: of an array by name, where the file tells.

    Raises:
        InputError: an array that is not there, or has no two axes; wrong number of names; no signals.
    """
    stated = None
    if options.rate_from is not None:
        stated = _number(path, shapes, read, options.rate_from)
    if options.array is None:
        vectors = {
            name: max(shape, default=0) for name, shape in shapes.items()
            if np.prod(shape, dtype=np.int64) == max(shape, default=0) >= _MIN_SAMPLES
        }
        if not vectors:
            raise InputError(
                f"{path} has no one-dimensional array. Name the array of the signals with `array`; "
                f"it has: {listed(shapes)}."
            )
        names = list(vectors)
        leads = [
            Lead(name, stated or rate(name), unit(name), length) for name, length in vectors.items()
        ]
        return Contents(path, tuple(leads), lambda indices: [
            np.asarray(read(names[i]), np.float64).reshape(-1) for i in indices
        ])
    shape = wanted(path, shapes, options.array)
    if len(shape) != 2:
        raise InputError(
            f"{path}: array {options.array!r} has shape {shape}; (leads, samples) or (samples, leads) "
            "is needed."
        )
    by_column = shape[0] > shape[1]
    count, length = sorted(shape)
    names = list(options.lead_names) or [f"{options.array}[{i}]" for i in range(count)]
    if len(names) != count:
        raise InputError(
            f"{path}: array {options.array!r} of shape {shape} has {count} leads, `lead_names` names "
            f"{len(names)}. Give one name per lead."
        )
    at_hz = stated or rate(options.array)
    leads = [Lead(name, at_hz, unit(options.array), length) for name in names]

    def load(indices):
        values = np.asarray(read(options.array), np.float64)
        return [np.ascontiguousarray(values[:, i] if by_column else values[i]) for i in indices]

    return Contents(path, tuple(leads), load)


def wanted(path: Path, shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    """The shape of an array that must be there."""
    if name not in shapes:
        raise InputError(f"{path} has no array {name!r}. It has: {listed(shapes)}.")
    return shapes[name]


def listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no numeric array"


def _number(path, shapes, read, name) -> float:
    if np.prod(wanted(path, shapes, name), dtype=np.int64) != 1:
        raise InputError(
            f"{path}: `rate_from` names {name!r} of shape {shapes[name]}; one number is needed."
        )
    return float(np.asarray(read(name)).reshape(-1)[0])
