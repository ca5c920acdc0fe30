"""The filters of a recipe for many epochs of one length, as products with narrow matrices.

Resampling by interpolation and an FIR filter are linear, and an output depends on inputs nearby only.
So for epochs of one length they are one banded matrix, whose columns are read off what the recipe makes
of impulses far apart, and an epoch is multiplied with it instead of interpolated and transformed.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from jaxbridge.data.recipes import Recipe, filtered

# Outputs of one product.
_OUTPUTS = 128


class _Band(NamedTuple):
    """Some neighbouring outputs: epochs[:, first:last] @ weights."""

    first: int
    last: int
    weights: np.ndarray


def filtered_epochs(
    epochs: np.ndarray, sampling_rate_hz: float, recipe: Recipe, name: str
) -> np.ndarray:
    """`recipes.filtered` up to rounding, of (epochs, samples) in any memory order.

    Only for a recipe that `is_local`. Arguments, result and errors are those of `recipes.filtered`.
    """
    num_new = filtered(epochs[:1], sampling_rate_hz, recipe, name).shape[1]  # refuses what does not fit
    out = np.empty((len(epochs), num_new))
    for place, band in enumerate(_bands(recipe, sampling_rate_hz, epochs.shape[1])):
        some = np.asarray(epochs[:, band.first : band.last], np.float64)
        np.matmul(some, band.weights, out=out[:, place * _OUTPUTS : (place + 1) * _OUTPUTS])
    return out


@functools.lru_cache(maxsize=4)
def _bands(recipe: Recipe, sampling_rate_hz: float, num_old: int) -> list[_Band]:
    reach = _reach(recipe, sampling_rate_hz)
    apart = min(2 * reach + 1, num_old)
    # Impulse i is in row i % apart, so that the answers to a row's impulses do not meet.
    impulses = np.zeros((apart, num_old))
    impulses[np.arange(num_old) % apart, np.arange(num_old)] = 1
    answers = filtered(impulses, sampling_rate_hz, recipe, "impulses")
    num_new = answers.shape[1]
    bands = []
    for start in range(0, num_new, _OUTPUTS):
        outputs = np.arange(start, min(start + _OUTPUTS, num_new))
        stands = outputs * (num_old - 1) / (num_new - 1)  # in old samples
        first = max(int(stands[0]) - reach, 0)
        last = min(int(stands[-1]) + reach + 1, num_old)
        inputs = np.arange(first, last)[:, None]
        near = np.abs(inputs - stands) <= reach
        bands.append(_Band(first, last, np.where(near, answers[inputs % apart, outputs], 0.0)))
    return bands


def _reach(recipe: Recipe, sampling_rate_hz: float) -> int:
    """Old samples to either side on which an output depends at most, with some to spare."""
    reach_s = 2 / min(recipe.sampling_rate_hz, sampling_rate_hz)
    if recipe.bandpass is not None:
        reach_s += (recipe.bandpass.order + 4) / recipe.bandpass.sampling_rate_hz
    return math.ceil(reach_s * sampling_rate_hz) + 4
