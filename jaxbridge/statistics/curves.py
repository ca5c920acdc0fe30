"""Calibration and abstention curves as rows of the tidy table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxbridge.statistics.calibration import abstention, calibration
from jaxbridge.statistics.predictions import Predictions
from jaxbridge.statistics.tidy import COLUMNS

RELIABILITY = ("windows", "confidence", "accuracy")
ANSWERED = ("accuracy", "balanced_accuracy")


def curve_rows(about: Mapping[str, Any], runs: Sequence[Predictions]) -> list[dict[str, Any]]:
    """Returns curves of one method and split, all seeds and folds pooled.

    The metrics are "reliability_<what>@<bin>" with `RELIABILITY` of bin 0, 1, ... (bins without
    windows are left out), and "abstention_<score>@<share answered>" with the scores of `ANSWERED`.

    Args:
        about: "study", "dataset", "method", "split".
        runs: at least one.
    """
    probabilities = np.concatenate([run.probabilities for run in runs])
    labels = np.concatenate([run.labels for run in runs])
    bins, curve = calibration(probabilities, labels), abstention(probabilities, labels)
    found = {
        f"reliability_{what}@{i}": float(values[i])
        for what, values in zip(
            RELIABILITY, (bins.count, bins.confidence, bins.accuracy), strict=True
        )
        for i in np.flatnonzero(bins.count)
    }
    found |= {
        f"abstention_{score}@{share:.4f}": float(value)
        for score in ANSWERED
        for share, value in zip(curve.coverage, getattr(curve, score), strict=True)
    }
    return [
        {name: {**about, "metric": metric, "value": value}.get(name, "") for name in COLUMNS}
        for metric, value in found.items()
    ]
