"""Classification metrics, as scikit-learn defines them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_ports.errors import InputError


def evaluate(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Returns accuracy, balanced accuracy, Cohen's kappa, F1 (macro, weighted), confusion matrix.

    Args:
        labels: true classes, (windows,) integers.
        predictions: predicted classes, (windows,) integers.
        classes: class names; row i of the confusion matrix is true class i.

    Raises:
        InputError: no windows, or a class that no label has (balanced accuracy needs each).
    """
    # Two seconds to import: a script with a wrong flag need not wait for it.
    from sklearn import metrics

    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if not labels.size:
        raise InputError("there are no windows to evaluate; check the split.")
    if absent := [c for i, c in enumerate(classes) if not (labels == i).any()]:
        raise InputError(
            f"class {', '.join(absent)} has no window among those to evaluate; "
            "choose another split or seed."
        )
    every = range(len(classes))
    return {
        "windows": int(labels.size),
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, predictions)),
        "kappa": float(metrics.cohen_kappa_score(labels, predictions, labels=list(every))),
        "f1_macro": float(
            metrics.f1_score(labels, predictions, average="macro", labels=list(every),
                             zero_division=0)
        ),
        "f1_weighted": float(
            metrics.f1_score(labels, predictions, average="weighted", labels=list(every),
                             zero_division=0)
        ),
        "confusion": metrics.confusion_matrix(labels, predictions, labels=list(every)).tolist(),
    }
