r"""A saved bridge or an exported model on a split of a window store: metrics, confusion matrix.

    python -m launch.evaluate --artifact=FILE --store=WINDOWS --out=DIR
    python -m launch.evaluate --bridge=RUN/report/pretrained --old_weights=DIR --new_weights=DIR \
        --store=WINDOWS --out=DIR

Writes metrics.json, metrics.csv and confusion.csv (row: true class, column: prediction).
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from jaxbridge.data.store import WindowStore
from jaxbridge.evaluation import evaluate_windows
from jaxbridge.exporting import read_export
from jaxbridge.pretrained import from_pretrained, pretrained_config
from jaxbridge.run_folder import write_json, write_rows
from launch.flags.seeds import writable
from launch.script import run
from model_ports.errors import InputError

_BRIDGE = flags.DEFINE_string("bridge", None, "Folder of a saved bridge.")
_OLD_WEIGHTS = flags.DEFINE_string("old_weights", None, "The old encoder's folder, for --bridge.")
_NEW_WEIGHTS = flags.DEFINE_string("new_weights", None, "The new encoder's folder, for --bridge.")
_ARTIFACT = flags.DEFINE_string("artifact", None, "File that launch.export wrote.")
_STORE = flags.DEFINE_string("store", None, "Window store.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "Which of its windows.")
_MODALITY = flags.DEFINE_string("modality", None, "Which signal; that of the training if left out.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Windows per call.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "Folder to write into.", required=True)


def _model() -> tuple[Callable[[np.ndarray], Any], dict[str, Any]]:
    if (_BRIDGE.value is None) == (_ARTIFACT.value is None):
        raise InputError("give either --bridge (with both encoders) or --artifact.")
    if _ARTIFACT.value is not None:
        return read_export(_ARTIFACT.value)
    if _OLD_WEIGHTS.value is None or _NEW_WEIGHTS.value is None:
        raise InputError("--bridge needs --old_weights and --new_weights.")
    model = from_pretrained(_BRIDGE.value, old=_OLD_WEIGHTS.value, new=_NEW_WEIGHTS.value)
    return model, pretrained_config(_BRIDGE.value)


def confusion_rows(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Returns a row per true class: its name, then how often each class was predicted."""
    # Not "true", which is a class of yes-or-no labels.
    return [
        {"true class": name, **dict(zip(classes, row, strict=True))}
        for name, row in zip(classes, confusion, strict=True)
    ]


def main() -> None:
    model, config = _model()
    windows, out = WindowStore.open(_STORE.value), pathlib.Path(_OUT.value)
    found = evaluate_windows(
        model, config, windows, _SPLIT.value, modality=_MODALITY.value, batch_size=_BATCH.value
    )
    classes, confusion = windows.class_names, found["confusion"]
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "metrics.json", found)
        write_rows(out / "metrics.csv", [{k: v for k, v in found.items() if k != "confusion"}])
        write_rows(out / "confusion.csv", confusion_rows(classes, confusion))
    for name, value in found.items():
        if name != "confusion":
            print(f"{name:18} {value:.3f}" if isinstance(value, float) else f"{name:18} {value}")
    width = max(map(len, classes))
    print("\ntrue class, then counts of predictions in the same order:")
    for name, row in zip(classes, confusion, strict=True):
        print(f"{name:{width}} " + " ".join(f"{count:6}" for count in row))
    print(f"\nMetrics: {out / 'metrics.json'}")


if __name__ == "__main__":
    run(main)
