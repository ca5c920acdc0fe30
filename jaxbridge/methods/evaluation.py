"""A fitted method on one split: what statistics start from."""

import numpy as np

from jaxbridge.methods.method import Fitted
from jaxbridge.methods.study_data import StudyData
from jaxbridge.statistics.predictions import Predictions
from model_ports.errors import InputError


def predictions(
    fitted: Fitted, data: StudyData, split: str, *, seed: int, fold: int = 0, people: str = ""
) -> Predictions:
    """Returns logits, true classes and subjects of a split's windows.

    Args:
        fitted: from `Method.fit`.
        data: what it was fitted on.
        split: "train", "val" or "test".
        seed, fold: which run this is.
        people: put before the names of subjects, where those of other seeds are other people.

    Raises:
        InputError: no windows in that split, or windows whose subjects are unknown.
    """
    indices = data.windows.indices(split)
    if not indices.size:
        raise InputError(f"split {split!r} has no windows; prepare the windows with it.")
    if data.windows.subjects is None:
        raise InputError(
            "the windows do not tell whose they are; statistics over people need `subjects`."
        )
    subjects = np.char.add(people, data.windows.subjects[indices].astype(str))
    return Predictions(
        fitted.logits(data, indices), data.labels(indices), subjects, seed, fold
    )
