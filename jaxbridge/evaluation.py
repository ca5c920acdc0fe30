"""A finished model on labelled windows."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxbridge import metrics
from jaxbridge.bridged_model import BridgedModel
from jaxbridge.data.store import WindowStore
from jaxbridge.encoder_leads import check_leads
from jaxbridge.features.sweep import sweep
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


def evaluate_windows(
    model: Callable[[jax.Array], jax.Array], config: Mapping[str, Any], windows: WindowStore,
    split: str, *, modality: str | None = None, batch_size: int = 32,
) -> dict[str, Any]:
    """Returns the metrics of `metrics.evaluate`, and what was evaluated.

    Args:
        model: signal -> logits; a `BridgedModel`, or an exported one, see `read_export`.
        config: what is written beside the model: "class_names", "new", "preprocessing".
        windows: windows with labels.
        split: which of them.
        modality: name of the signal; that of the training if None.
        batch_size: windows per call.

    Raises:
        InputError: no such split or modality, other classes, window shapes or leads, a class
            without windows.
    """
    modality, chosen = modality or config["new"]["modality"], windows.indices(split)
    if list(windows.class_names) != list(config["class_names"]):
        raise InputError(
            f"the windows have the classes {', '.join(windows.class_names)}, "
            f"the model {', '.join(config['class_names'])}."
        )
    if windows.shape(modality) != tuple(config["new"]["signal_shape"]):
        raise InputError(
            f"windows of {modality} have shape {windows.shape(modality)}, the model takes "
            f"{tuple(config['new']['signal_shape'])}; prepare them as for the training."
        )
    if isinstance(model, BridgedModel):
        check_leads(model.new, windows, modality)
    _tell_differences(config["preprocessing"], windows.metadata)
    # An exported program is of one device; a module goes in as an argument, not as constants.
    module, call = (model, _apply) if isinstance(model, nnx.Module) else ((), _Exported(model))
    logits = sweep(
        call, module, lambda indices: windows.read(modality, indices), chosen,
        batch_size=batch_size, what=f"predicting {split} from {modality}",
        devices=jax.local_devices()[:1],
    )
    found = metrics.evaluate(
        windows.labels[chosen], np.asarray(logits).argmax(axis=1), windows.class_names
    )
    return {"split": split, "modality": modality, "windows_hash": windows.hash, **found}


def _apply(model: nnx.Module, signal: jax.Array) -> jax.Array:
    return model(signal)


class _Exported:
    def __init__(self, model: Callable[[jax.Array], jax.Array]):
        self._model = model

    def __call__(self, nothing: tuple, signal: jax.Array) -> jax.Array:
        return self._model(signal)


def _tell_differences(trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Logs where the windows were made otherwise than those of the training."""
    apart = sorted(
        key for key in trained.keys() & given.keys() if trained[key] != given[key]
    )
    if apart:
        _log.warning("the windows differ from those of the training in: %s", ", ".join(apart))
