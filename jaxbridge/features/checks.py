"""Pooled features of all layers as one array, and the checks that every score needs.

Layers of one encoder differ in width. Padding with zeros to the widest one makes them one array
without changing any Gram matrix, hence neither CKA nor a probe with an L2 penalty.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from model_ports.errors import InputError


def stack(
    layers: Sequence[ArrayLike], *, name: str = "features"
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Zero-pad per-layer features to a common width.

    Args:
        layers: one array (windows, width_i) per layer, numbers of any type.
        name: what to call the features in messages.

    Returns:
        The features, (layers, windows, max width) float32, and the width of each layer.

    Raises:
        InputError: no layer, a layer that is not a matrix, or different window counts.
    """
    arrays = [np.asarray(layer) for layer in layers]
    if not arrays:
        raise InputError(f"{name}: no layer given; pass at least one (windows, width) array")
    for index, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(
                f"{name}, layer {index}: shape {array.shape} is not (windows, width); "
                "pool over tokens first and leave no axis empty"
            )
    counts = [len(array) for array in arrays]
    if len(set(counts)) > 1:
        odd = next(i for i, count in enumerate(counts) if count != counts[0])
        raise InputError(
            f"{name}: layer {odd} has {counts[odd]} windows, layer 0 has {counts[0]}; "
            "capture all layers from the same windows"
        )
    widths = tuple(array.shape[1] for array in arrays)
    stacked = np.zeros((len(arrays), counts[0], max(widths)), np.float32)
    for index, array in enumerate(arrays):
        stacked[index, :, : widths[index]] = array
    return stacked, widths


def check(features: ArrayLike, *, name: str = "features") -> None:
    """Refuse features (layers, windows, width) that no score can be computed from.

    Raises:
        InputError: wrong number of axes, fewer than 4 windows, or NaN or infinite values
            (the first such layer and window are named).
    """
    features = np.asarray(features)
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(
            f"{name}: shape {features.shape} is not (layers, windows, width); "
            "use jaxbridge.features.checks.stack"
        )
    if features.shape[1] < 4:
        raise InputError(f"{name}: {features.shape[1]} windows; at least 4 are needed")
    check_finite(features, name=name)


def check_finite(features: ArrayLike, *, name: str = "features") -> None:
    """Refuse NaN and infinite values in features (layers, windows, width).

    Raises:
        InputError: naming the first such layer and window.
    """
    # The sum of a layer is finite unless a value is not (or overflows, which the full look sorts
    # out): one cheap read instead of a mask of the whole array.
    for index, layer in enumerate(np.asarray(features)):
        if not np.isfinite(layer.sum(dtype=np.float64)):
            finite = np.isfinite(layer).all(axis=1)
            if not finite.all():
                raise InputError(
                    f"{name}, layer {index}: NaN or infinite values in {np.sum(~finite)} windows "
                    f"(first: {np.argmin(finite)}); drop these windows or mend the recording"
                )


def check_not_constant(features: ArrayLike, *, name: str = "features") -> None:
    """Refuse layers whose features are the same in every window.

    Raises:
        InputError: naming the layers.
    """
    constant = [i for i, layer in enumerate(np.asarray(features)) if np.all(layer == layer[0])]
    if constant:
        raise InputError(
            f"{name}: layers {constant} are constant over all windows, so similarity is undefined; "
            "check the weights and the signal, or leave these layers out"
        )


def check_pairs(new: ArrayLike, old: ArrayLike) -> None:
    """Refuse two feature arrays that are not of the same windows.

    Raises:
        InputError: different window counts.
    """
    new_count, old_count = np.shape(new)[1], np.shape(old)[1]
    if new_count != old_count:
        raise InputError(
            f"new features have {new_count} windows, old features {old_count}; "
            "both must come from the same paired windows"
        )


def check_labels(
    labels: ArrayLike, num_windows: int, num_classes: int | None = None, *, num_folds: int = 1
) -> np.ndarray:
    """Labels as (windows,) int32, refused where a probe cannot be cross-validated on them.

    `num_classes` None stands for as many as the largest label needs.

    Raises:
        InputError: wrong count, not whole numbers in [0, num_classes), only one class, or see
            `rare_classes`.
    """
    labels = np.asarray(labels)
    if labels.shape != (num_windows,):
        raise InputError(
            f"labels: shape {labels.shape}, but the features have {num_windows} windows; "
            "give one label per window"
        )
    numbers = labels.dtype.kind in "biuf" and np.isfinite(labels).all()
    if not numbers or not np.all(np.mod(labels, 1) == 0):
        raise InputError("labels: not whole numbers; give class indices 0 .. num_classes - 1")
    if num_classes is None:
        num_classes = max(2, int(labels.max()) + 1)
    if num_classes < 2:
        raise InputError(f"num_classes is {num_classes}; a probe needs at least 2 classes")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InputError(
            f"labels: values {labels.min()} .. {labels.max()} are outside 0 .. {num_classes - 1}; "
            "correct the labels or num_classes"
        )
    labels = labels.astype(np.int32)
    counts = np.bincount(labels, minlength=num_classes)
    if np.count_nonzero(counts) < 2:
        raise InputError(
            f"labels: only class {labels[0]} occurs; a probe needs at least 2 "
            "(is the task head degenerate?)"
        )
    rare_classes(labels, num_folds)
    return labels


def rare_classes(labels: np.ndarray, num_folds: int) -> dict[int, int]:
    """Returns classes with fewer windows than folds, each with its windows.

    As in scikit-learn they may be there: folds that lack one are trained or scored without it.

    Raises:
        InputError: fewer than two other classes, which every fold can be trained and scored on.
    """
    classes, counts = np.unique(labels, return_counts=True)
    few = counts < num_folds
    if len(classes) - few.sum() < 2:
        k = np.flatnonzero(few)[0]
        raise InputError(
            f"labels: class {classes[k]} has {counts[k]} windows, fewer than the {num_folds} folds; "
            "use fewer folds (--scan_folds), more windows, or a teacher that tells classes apart"
        )
    return dict(zip(classes[few].tolist(), counts[few].tolist(), strict=True))
