"""What a run keeps for its page: the data it used, a pair of example windows, parameters, predictions.

    about.json          see `about`
    examples.npz        "<class index>/<modality>": one window
    test.npz            labels, subjects (empty where unknown), and logits of "teacher" and "bridge"
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbridge.bridge import num_parameters
from jaxbridge.bridged_model import BridgedModel
from jaxbridge.run_folder import write_json
from jaxbridge.training import engine


def write_record(
    folder: pathlib.Path, windows: Any, model: BridgedModel, splits: Mapping[str, np.ndarray],
    modalities: tuple[str, str], logits: Mapping[str, np.ndarray],
) -> None:
    """Writes the files.

    Args:
        folder: where to.
        windows: a `pipeline.Windows`.
        model: as trained.
        splits: name -> indices of windows.
        modalities: (old, new).
        logits: "teacher", "bridge" -> (test windows, classes).
    """
    examples = _examples(windows, splits["pair"])
    write_json(folder / "about.json", {
        **_data(windows, model, splits, modalities),
        "position": list(model.position),
        "layers": {"new": model.new.num_layers, "old": model.old.num_layers},
        "parameters": _parameters(model, windows.shape(modalities[1])),
        "examples": {str(label): about for label, (_, about) in examples.items()},
    })
    np.savez(folder / "examples.npz", **{
        f"{label}/{modality}": windows.read(modality, np.array([index]))[0]
        for label, (index, _) in examples.items() for modality in modalities
    })
    test = splits["test"]
    subjects = np.empty(0, str) if windows.subjects is None else windows.subjects[test].astype(str)
    np.savez(folder / "test.npz", labels=windows.labels[test], subjects=subjects, **logits)


def _data(windows, model, splits, modalities) -> dict[str, Any]:
    """Data set, modalities and splits; what the windows do not tell is taken from the encoders."""
    known = dict(getattr(windows, "metadata", {}))
    found = {}
    for role, modality, encoder in zip(
        ("old", "new"), modalities, (model.old, model.new), strict=True
    ):
        config, told = encoder.config, known.get("modalities", {}).get(modality, {})
        leads = told.get("leads") or getattr(config, "leads", None)
        found[role] = {
            "modality": modality, "shape": list(windows.shape(modality)),
            "sampling_rate_hz": told.get("sampling_rate_hz", config.sampling_rate_hz),
            "unit": told.get("unit", config.unit), "leads": None if leads is None else list(leads),
        }
    recordings = getattr(windows, "recordings", None)

    def different(names: np.ndarray | None, indices: np.ndarray) -> int | None:
        return None if names is None else len(set(names[indices].tolist()))

    return {
        "dataset": known.get("dataset"), "labels": known.get("labels"),
        "window_s": known.get("window_s"), "step_s": known.get("step_s"),
        "modalities": found,
        "splits": {
            name: {
                "windows": len(indices), "subjects": different(windows.subjects, indices),
                "recordings": different(recordings, indices),
                "classes": np.bincount(
                    windows.labels[indices], minlength=len(windows.class_names)
                ).tolist(),
            }
            for name, indices in splits.items()
        },
    }


def _examples(windows, pair: np.ndarray) -> dict[int, tuple[int, dict[str, Any]]]:
    """The middle pair window of each class, and whose it is."""
    found = {}
    for label in range(len(windows.class_names)):
        chosen = pair[windows.labels[pair] == label]
        if not chosen.size:
            continue
        index = int(chosen[len(chosen) // 2])
        about = {
            key: str(names[index])
            for key, names in (("subject", windows.subjects),
                               ("recording", getattr(windows, "recordings", None)))
            if names is not None
        }
        start = getattr(windows, "start_s", None)
        if start is not None and np.isfinite(start[index]):
            about["start_s"] = float(start[index])
        found[label] = index, about
    return found


def _parameters(model: BridgedModel, shape: tuple[int, ...]) -> dict[str, int]:
    """Parameters of the parts; of all but the bridge, those that a prediction reads."""
    read = engine.reached(
        model, lambda m, batch: (m(batch["input"]), jnp.ones(1)),
        {"input": jax.ShapeDtypeStruct((1, *shape), jnp.float32)},
    )
    sizes = {
        ".".join(map(str, path)): leaf[...].size
        for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }
    bridge = num_parameters(model.bridge)
    return {
        "bridge": bridge, "new": num_parameters(model.new), "old": num_parameters(model.old),
        "head": num_parameters(model.head),
        "others_read": sum(size for path, size in sizes.items() if path in read) - bridge,
    }
