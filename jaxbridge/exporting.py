"""The whole bridged model as one file that runs with JAX alone.

The file is a serialized `jax.export` artifact: StableHLO with the weights in it, for any batch size.
A JSON file of the same name beside it says what it takes and returns.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxbridge.bridged_model import BridgedModel
from jaxbridge.run_folder import versions, write_json
from model_ports.errors import InputError

FORMAT = "jaxbridge-export-1"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_LOADING = (
    "import jax.export; "
    "model = jax.export.deserialize(open(FILE, 'rb').read()); logits = model.call(signal)"
)


def export_model(
    model: BridgedModel, signal_shape: Sequence[int], *, platforms: Sequence[str] = ("cpu",)
) -> export.Exported:
    """Returns new signal (batch, *signal_shape) float32 -> logits (batch, classes), batch symbolic.

    Args:
        model: the bridged model.
        signal_shape: of one window of the new signal.
        platforms: where it shall run, see `PLATFORMS`.

    Raises:
        InputError: an unknown platform or one named twice, a shape that the encoder does not take, or a
            model that needs a concrete batch size or cannot be lowered for a platform.
    """
    if not platforms or set(platforms) - set(PLATFORMS):
        raise InputError(
            f"platforms are {', '.join(platforms) or 'none'}; choose out of {', '.join(PLATFORMS)}."
        )
    if len(set(platforms)) < len(platforms):
        raise InputError(f"platforms are {', '.join(platforms)}; name each once.")
    (batch,) = export.symbolic_shape("batch")
    signal = jax.ShapeDtypeStruct((batch, *signal_shape), jnp.float32)
    try:
        return export.export(jax.jit(lambda x: model(x)), platforms=tuple(platforms))(signal)
    except InputError:
        raise
    except (
        NotImplementedError, ValueError, TypeError, jax.errors.InconclusiveDimensionOperation
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{model.new.config.name} into {model.old.config.name} cannot be exported for "
            f"{', '.join(platforms)} with a symbolic batch size: {reason}"
        ) from error


def write_export(
    exported: export.Exported, path: str | pathlib.Path, config: Mapping[str, Any]
) -> pathlib.Path:
    """Writes the artifact to `path` and what it is to `path`.json, which is returned.

    Args:
        exported: from `export_model`.
        path: the file, in place of what is there.
        config: of the bridge, see `pretrained_config`.

    Raises:
        InputError: the package flatbuffers is missing, or the file cannot be written.
    """
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".json")
    content = _with_flatbuffers(exported.serialize)
    record = {
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {"shape": ["batch", *exported.in_avals[0].shape[1:]], "dtype": "float32"},
        "output": {"shape": ["batch", *exported.out_avals[0].shape[1:]], "what": "logits"},
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "load": _LOADING,
        **{key: config[key] for key in ("class_names", "preprocessing", "metrics", "position")},
        **{side: config[side] for side in ("new", "old")},
        "versions": versions(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        aside.write_bytes(content)
        os.replace(aside, path)
        write_json(beside, record)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from None
    return beside


def read_export(
    path: str | pathlib.Path,
) -> tuple[Callable[[np.ndarray], jax.Array], dict[str, Any]]:
    """Returns the model, signal -> logits, and what is written beside it.

    Raises:
        InputError: a file is missing, damaged or not ours, or the artifact is for other platforms.
    """
    path = pathlib.Path(path)
    beside = path.with_name(path.name + ".json")
    try:
        record = json.loads(beside.read_text())
        content = path.read_bytes()
        if record["format"] != FORMAT:
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} and {beside.name} are no exported model ({error}); run launch.export."
        ) from None
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise InputError(f"{path} differs from what {beside.name} tells of; copy or export it again.")
    exported = _with_flatbuffers(lambda: export.deserialize(bytearray(content)))
    here = export.default_export_platform()
    if here not in exported.platforms:
        raise InputError(
            f"{path} was exported for {', '.join(exported.platforms)}, this process runs on {here}; "
            f"export it with --platforms={here}."
        )
    return jax.jit(exported.call), record


def _with_flatbuffers(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ImportError:
        raise InputError(
            "exported models need a package: pip install 'jaxbridge[export]' (flatbuffers)"
        ) from None
