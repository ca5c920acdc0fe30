"""The folder of a run that was never run: real formats, made-up results."""

import dataclasses
import pathlib

import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge import TransferSettings, metrics
from jaxbridge.bridge import PrototypeBridge
from jaxbridge.bridged_model import BridgedModel
from jaxbridge.head import TaskHead
from jaxbridge.report.run.record import write_record
from jaxbridge.run_folder import versions, write_curve, write_json
from jaxbridge.selection.two_stage import Selection
from jaxbridge.training.fitting import Epoch
from tests.jaxbridge import tiny

POSITION = (1, 2)


def write_run(run: pathlib.Path) -> tuple[BridgedModel, dict[str, np.ndarray]]:
    """Writes every file that a page reads; returns the model and the logits of the test windows."""
    rng = np.random.default_rng(0)
    windows, (old, new) = tiny.windows(), tiny.encoders()
    windows.subjects = np.array([f"S{i % 5}" for i in range(len(windows.labels))])
    splits = {name: windows.indices(name) for name in ("train", "val", "pair", "test")}
    labels = windows.labels[splits["test"]]
    logits = {
        name: (np.eye(2)[labels] * skill + rng.standard_normal((len(labels), 2))).astype(np.float32)
        for name, skill in (("teacher", 3), ("bridge", 2))
    }
    rest = {name: rng.integers(0, 2, len(labels)) for name in ("shuffled", "oracle")}
    predicted = {
        "chance": np.zeros(len(labels), int), "teacher": logits["teacher"].argmax(axis=1),
        "bridge": logits["bridge"].argmax(axis=1), "bridge, shuffled pairs": rest["shuffled"],
        "oracle": rest["oracle"],
    }
    for stage in ("teacher", "features", "scan", "bridge", "controls", "report"):
        (run / stage).mkdir(parents=True)
        write_json(run / stage / "done.json", {"seconds": 61.0, "peak_memory_bytes": 2_500_000_000})
    write_json(run / "run.json", {
        "settings": {
            "windows_hash": windows.hash, "sources": {}, "class_names": list(windows.class_names),
            "old": {**dataclasses.asdict(old.config), "weights_hash": mp.weights_hash(old)},
            "new": {**dataclasses.asdict(new.config), "weights_hash": mp.weights_hash(new)},
            **TransferSettings("eeg", "ecg").identity(),
        },
        "versions": versions(),
    })
    write_json(run.parent / "flags.json", {"old_weights": None, "new_weights": "weights/<new>"})
    write_json(run.parent / "command.json", {"command": "python -m launch.transfer --out='a b'"})
    curve = [Epoch(i + 1, 1 / (i + 1), 1.5 / (i + 1)) for i in range(4)]
    write_curve(run / "teacher" / "curve.csv", curve)
    write_curve(run / "bridge" / "curve.csv", curve)
    write_curve(run / "controls" / "shuffled_curve.csv", curve)
    selection = Selection(
        *POSITION, "macro_f1", rng.random((2, 5)), rng.random((2, 3)), rng.random((2, 3))
    )
    write_json(run / "scan" / "selection.json", selection.as_dict())
    write_json(run / "report" / "metrics.json", [
        {"method": method, "modality": "eeg" if method == "teacher" else "ecg", "split": split,
         "trainable_parameters": 1234 + i,
         **metrics.evaluate(labels, classes, windows.class_names)}
        for split in ("train", "val", "test") for i, (method, classes) in enumerate(predicted.items())
    ])
    np.savez(
        run / "controls" / "predictions.npz", shuffled_test=rest["shuffled"],
        oracle_test=rest["oracle"],
    )
    signal = (1, *windows.shape("eeg"))
    tokens, width = old.layer_shape(POSITION[1], signal)
    rngs = nnx.Rngs(0)
    bridge = PrototypeBridge(16, tokens, width, rank=2, num_prototypes=3, rngs=rngs)
    head = TaskHead(old.layer_shape(old.num_layers, signal)[1], 2, rngs=rngs)
    model = BridgedModel(new, old, bridge, head, POSITION)
    write_record(run / "report", windows, model, splits, ("eeg", "ecg"), logits)
    return model, logits
