"""Published weight files as plain data: names -> arrays, and the configuration stored beside.

Nothing in a file is run or imported. PyTorch's pickles are read with `weights_only=True`; the few
other types that training code leaves in them (a configuration object, an argument namespace) are
allowed by exact name and become inert `Record`s.
"""

import dataclasses
import json
import pathlib
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from model_ports.errors import InputError

# What argparse, omegaconf, pathlib and numpy leave in training checkpoints.
_INERT = (
    "argparse.Namespace",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.tupleconfig.TupleConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    *(f"omegaconf.nodes.{kind}Node" for kind in (
        "Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path", "String",
    )),
    "collections.defaultdict",
    *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Tuple", "Union")),
    "operator.getitem", "_operator.getitem",
    *(f"builtins.{name}" for name in (
        "bool", "dict", "float", "int", "list", "object", "str", "tuple",
    )),
    "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath",
    "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("scalar", "_reconstruct")),
)
_WRAPPERS = ("model_state_dict", "state_dict", "model", "module")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_NAMES = ("model.safetensors", "pytorch_model.bin")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclasses.dataclass(frozen=True)
class CheckpointFile:
    """What a published file holds.

    Attributes:
        entries: names -> arrays, wrapper dictionary taken off, prefixes still on.
        config: the configuration stored in the file or beside it, as plain values; {} if none.
    """

    entries: dict[str, np.ndarray]
    config: dict[str, Any]


def read_file(path: str | pathlib.Path, inert_types: Sequence[str] = ()) -> CheckpointFile:
    """Reads a safetensors file, a PyTorch file or a Hugging Face folder.

    Args:
        path: the file or folder.
        inert_types: regular expressions of further qualified type names to read as records.

    Raises:
        InputError: no such file, not a weight file, truncated, a pickle that would run code, or
            PyTorch is needed and not installed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _read_folder(path, inert_types)
    if not path.exists():
        raise InputError(f"there is no {path}; give a weight file or a folder that holds one.")
    _refuse_stand_ins(path)
    if path.suffix == ".safetensors":
        return CheckpointFile(_read_safetensors(path), _json_beside(path))
    return _unwrap(_read_torch(path, inert_types), path)


def _read_folder(path: pathlib.Path, inert_types: Sequence[str]) -> CheckpointFile:
    """A Hugging Face folder: config.json and one weight file or a sharded one."""
    config = _json(path / "config.json") if (path / "config.json").exists() else {}
    for index in _INDICES:
        if (path / index).exists():
            entries: dict[str, np.ndarray] = {}
            for shard in sorted(set(_json(path / index).get("weight_map", {}).values())):
                if pathlib.PurePath(shard).name != shard:
                    raise InputError(f"{path / index} names a file outside its folder: {shard}.")
                entries |= read_file(path / shard, inert_types).entries
            return CheckpointFile(entries, config)
    # one file under several formats is common; the one without a pickle is preferred. Trainers put
    # their own .bin and .pt files beside those of the hub's names.
    found = [path / name for name in _NAMES if (path / name).exists()][:1] or sorted(
        (f for f in path.iterdir() if f.suffix in _WEIGHTS),
        key=lambda f: (_WEIGHTS.index(f.suffix), f.name),
    )
    if not found:
        raise InputError(f"{path} holds no weight file ({', '.join(_WEIGHTS)}).")
    first = [f for f in found if f.suffix == found[0].suffix]
    if len(first) > 1:
        raise InputError(
            f"{path} holds several weight files ({', '.join(f.name for f in first)}); name one."
        )
    read = read_file(first[0], inert_types)
    return CheckpointFile(read.entries, {**read.config, **config})


def _refuse_stand_ins(path: pathlib.Path) -> None:
    """Things that downloads leave in place of a weight file."""
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not head:
        raise InputError(f"{path} is empty; download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` where it was cloned."
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{path} is a web page, not weights; download the file itself.")


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is no whole safetensors file ({error}); download or copy it again."
        ) from None


def _read_torch(path: pathlib.Path, inert_types: Sequence[str]) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"reading {path.name} needs PyTorch, once: pip install 'jaxbridge[convert]'. "
            "Weights in safetensors, and encoders saved by model_ports.save, need none."
        ) from None
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if file.read(2) == b"PK" and not zipped:
            raise InputError(f"{path} is truncated; download or copy it again.")
    names = set(_INERT)
    while True:
        stand_ins = [_record_type(name) for name in sorted(names)]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError,
                TypeError, AttributeError, IndexError, UnicodeDecodeError) as error:
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            if wanted is None:
                raise InputError(
                    f"{path} cannot be read as a PyTorch weight file "
                    f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
                    "it is damaged or something else. Download or copy it again."
                ) from None
            name = wanted[1]
            if name in names or not any(re.fullmatch(p, name) for p in inert_types):
                raise InputError(
                    f"{path} is refused: it is a pickle that calls {name}, which weights do not "
                    "need and which could run any code. Where you trust its origin, save the state "
                    "dict alone there, torch.save(model.state_dict(), ...), and give that."
                ) from None
            names.add(name)


class Record:
    """What an allowed pickled object held; its class is neither imported nor run."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Record":
        del kwargs
        record = super().__new__(cls)
        record.args, record.state = args, {}
        return record

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _record_type(name: str) -> type[Record]:
    """A class that goes by this name, which is how torch finds what is allowed."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, (Record,), {"__module__": module, "__qualname__": qualname})


def plain(value: Any) -> Any:
    """Returns records and containers as dictionaries, lists and simple values; the rest is None."""
    if isinstance(value, Record):
        state = value.state
        if isinstance(state, Mapping):
            # omegaconf keeps a container's content and a leaf's value under these names
            for key in ("_content", "_val"):
                if key in state:
                    return plain(state[key])
            return plain(state)
        return plain(value.args[0]) if len(value.args) == 1 else None
    if isinstance(value, Mapping):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, bool | int | float | str) else None


def _unwrap(loaded: Any, path: pathlib.Path) -> CheckpointFile:
    """Takes the state dict out of the dictionary that training code wraps around it."""
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"{path} holds a {type(loaded).__name__}, not a state dict; "
            "save it with torch.save(model.state_dict(), ...)."
        )
    where = next((key for key in _WRAPPERS if _is_state_dict(loaded.get(key))), None)
    state_dict = loaded if where is None else loaded[where]
    if not _is_state_dict(state_dict):
        raise InputError(
            f"{path} holds no state dict: its keys are {', '.join(map(repr, list(loaded)[:8]))}; "
            f"it is looked for under {', '.join(map(repr, _WRAPPERS))} or at the top."
        )
    others = [] if where is None else [k for k in loaded if k != where]
    config = {key: plain(loaded[key]) for key in others if _may_be_config(loaded[key])}
    if where is None:
        config = _json_beside(path)
    entries = {name: _array(name, value, path) for name, value in state_dict.items()}
    return CheckpointFile(entries, config)


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and all(isinstance(name, str) for name in value)
        and any(hasattr(v, "detach") for v in value.values())
    )


def _may_be_config(value: Any) -> bool:
    return isinstance(value, Record) or (
        isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    )


def _array(name: str, value: Any, path: pathlib.Path) -> np.ndarray:
    if not hasattr(value, "detach"):
        raise InputError(f"{path}: entry {name} is a {type(value).__name__}, not a tensor.")
    try:
        tensor = value.detach()
        # numpy has no bfloat16 of its own; float32 holds every bfloat16 and float16 exactly
        wide = tensor.is_floating_point() and tensor.element_size() < 4
        return (tensor.float() if wide else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"{path}: entry {name} cannot be read ({error}).") from None


def _json_beside(path: pathlib.Path) -> dict[str, Any]:
    beside = path.parent / "config.json"
    return _json(beside) if beside.exists() else {}


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object.")
    return value
