"""Probe scores exactly as the published code computes them, by scikit-learn itself.

scikit-learn's solver stops at a gradient of 1e-4, on raw encoder features up to 1.5 % of the
objective above the minimum. Where it stops hangs on rounding: permuting the columns of
`golden/selection`, or passing float64, changes a third of the macro F1 scores by more than 0.005
and some by 0.07. Such scores can only be had from that code; `jaxbridge.selection.probe` goes to
the minimum.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def macro_f1(layers: Sequence[ArrayLike], labels: ArrayLike, test_folds: ArrayLike) -> np.ndarray:
    """Macro F1 of scikit-learn's regression on every layer and fold.

    Args:
        layers: (windows, width_i) features of each layer, not padded, in their own precision.
        labels: (windows,) class indices.
        test_folds: (folds, windows) bool, True where held out.

    Returns:
        (layers, folds) float64.
    """
    # Two seconds to import: a script with a wrong flag need not wait for it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    splits = [(np.flatnonzero(~test), np.flatnonzero(test)) for test in np.asarray(test_folds)]
    model = LogisticRegression(max_iter=1000, random_state=0)
    return np.stack(
        [
            cross_val_score(model, np.asarray(layer), labels, cv=splits, scoring="f1_macro")
            for layer in layers
        ]
    )
