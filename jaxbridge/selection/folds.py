"""Test masks of cross-validation folds, as scikit-learn makes them."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from jaxbridge.features.checks import rare_classes
from model_ports.errors import InputError


def folds_by_subject(num_folds: int, subjects: ArrayLike) -> int:
    """Returns how many folds these subjects allow: `num_folds`, or one per subject if they are fewer.

    Args:
        num_folds: how many folds are wished for.
        subjects: (windows,) subject of each window.

    Raises:
        InputError: a single subject, which nobody is left to be compared with.
    """
    count = len(np.unique(np.asarray(subjects)))
    if count < 2:
        raise InputError(
            "all windows are of one subject, so that no fold can keep people apart; give windows of "
            "more subjects, or fold by window (no groups)"
        )
    return min(num_folds, count)


def stratified_folds(
    labels: ArrayLike, num_folds: int = 5, *, groups: ArrayLike | None = None
) -> np.ndarray:
    """Folds with the same share of classes, without shuffling.

    Args:
        labels: (windows,) class indices.
        num_folds: how many folds.
        groups: (windows,) subject of each window; then no subject is in both parts of a fold
            (StratifiedGroupKFold), else windows are spread freely (StratifiedKFold, as the
            reference does).

    Returns:
        (folds, windows) bool, True where the window is held out; every window is held out once.

    Raises:
        InputError: fewer than 2 folds, fewer than two classes with as many windows as folds, or
            fewer subjects than folds.
    """
    # Two seconds to import: a script with a wrong flag need not wait for it.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = np.asarray(labels)
    if num_folds < 2:
        raise InputError(f"num_folds is {num_folds}; at least 2 are needed")
    rare_classes(labels, num_folds)
    if groups is None:
        splitter = StratifiedKFold(num_folds)
    else:
        groups = np.asarray(groups)
        if groups.shape != labels.shape:
            raise InputError(
                f"groups: shape {groups.shape}, labels {labels.shape}; give one subject per window"
            )
        if len(np.unique(groups)) < num_folds:
            raise InputError(
                f"groups: {len(np.unique(groups))} subjects, fewer than the {num_folds} folds; "
                "use fewer folds"
            )
        splitter = StratifiedGroupKFold(num_folds)
    masks = np.zeros((num_folds, len(labels)), bool)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # told by `choose`
        for fold, (_, test) in enumerate(splitter.split(np.zeros((len(labels), 1)), labels, groups)):
            masks[fold, test] = True
    return masks
