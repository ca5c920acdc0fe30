"""A warning where an encoder gives the same features whatever the input."""

import warnings
from collections.abc import Sequence

import jax
import numpy as np

from model_ports.encoder import Activations
from model_ports.errors import InputError

# The relative error within which every layer agrees with its original: windows that differ by
# less cannot be told from rounding.
THRESHOLD = 1e-5


class CollapseWarning(UserWarning):
    """Features that do not vary between windows."""


def spread(features: np.ndarray | jax.Array) -> float:
    """Returns how much features vary between windows, relative to their size.

    The root mean square of the deviations from the mean window over that of the features
    themselves: 0 where all windows are alike, 1 where their mean is zero. Scale free; adding what
    is common to all windows lowers it.

    Args:
        features: (windows, ...), at least two windows.
    """
    x = np.asarray(features, np.float64)
    size = np.sqrt(np.mean(np.square(x)))
    return float(np.sqrt(np.mean(np.square(x - x.mean(axis=0)))) / size) if size else 0.0


def check_collapse(
    features: np.ndarray | jax.Array | Activations,
    name: str = "the encoder",
    *,
    threshold: float = THRESHOLD,
) -> tuple[float, ...]:
    """Warns (`CollapseWarning`) where features do not vary between windows.

    Of `Activations` the outputs of all layers and the final embedding are checked. One window
    alone is never told. Windows that are alike themselves collapse as well.

    Args:
        features: (windows, ...) array, or the activations of several windows.
        name: whose features, for the message.
        threshold: `spread` that counts as collapsed.

    Returns:
        The `spread` of each array that was checked; empty for fewer than two windows.

    Raises:
        InputError: the features have no axis of windows.
    """
    labelled = _labelled(features)
    if any(np.ndim(array) < 1 for _, array in labelled):
        raise InputError("features must have windows as their first axis: (windows, ...).")
    if any(np.shape(array)[0] < 2 for _, array in labelled):
        return ()
    found = tuple(spread(array) for _, array in labelled)
    flat = [label for (label, _), value in zip(labelled, found, strict=True) if value < threshold]
    if flat:
        windows = np.shape(labelled[0][1])[0]
        warnings.warn(
            f"{name} gives {windows} windows the same features: between windows {_listed(flat)} "
            f"vary by less than {threshold:g} of their size. Check that the windows differ, that "
            "they have the unit and scale the encoder takes, and that its weights were loaded.",
            CollapseWarning,
            stacklevel=2,
        )
    return found


def _labelled(
    features: np.ndarray | jax.Array | Activations,
) -> list[tuple[str, np.ndarray | jax.Array]]:
    if not isinstance(features, Activations):
        return [("the features", features)]
    layers = [(f"the outputs of layer {i}", array) for i, array in enumerate(features.outputs)]
    return [*layers, ("the final embeddings", features.final)]


def _listed(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return labels[0]
    return f"{labels[0]} and {len(labels) - 1} more"
