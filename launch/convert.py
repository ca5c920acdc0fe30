"""Converts a published weight file into a folder that loads without PyTorch.

    python -m launch.convert --model=labram --checkpoint=labram-base.pth --leads=F3,C3 --out=DIR

Without --checkpoint the weights are taken from the cache or downloaded; where from, and under
which licence, --sources tells. PyTorch files need the [convert] extra; safetensors need nothing.
"""

import hashlib
import json
import pathlib
import sys
import time
from typing import Any

from absl import flags

import model_ports as mp
from launch.script import run
from model_ports.pretrained import pretrained_file
from model_ports.saving import check_folder

_MODEL = flags.DEFINE_string("model", None, "Encoder, one of model_ports.available().")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None,
    "Published file (.pt, .pth, .safetensors), Hugging Face folder, or a folder made by this "
    "script. Left out: from the cache, or downloaded.",
)
_OUT = flags.DEFINE_string("out", None, "Folder to make.")
_LEADS = flags.DEFINE_list("leads", None, "Lead names in the order of the signal, F3,C3,...")
_SET = flags.DEFINE_multi_string(
    "set", [], "Configuration field that the file does not tell, as field=value; repeatable."
)
_SOURCES = flags.DEFINE_bool("sources", False, "Tell where published weights live, and stop.")
_PYTHONS = {"True": "true", "False": "false", "None": "null"}


def main() -> None:
    if _SOURCES.value:
        names = [_MODEL.value] if _MODEL.value else mp.available()
        print("\n".join(str(mp.sources(name)) for name in names))
        return
    for flag in (_MODEL, _OUT):
        if not flag.value:
            raise mp.InputError(f"--{flag.name} is needed; see --help.")
    check_folder(_OUT.value)  # rather than after minutes of download
    start = time.monotonic()

    def tell(what: str) -> None:
        print(f"[{time.monotonic() - start:6.1f} s] {what}", file=sys.stderr, flush=True)

    overrides = _overrides()
    if _CHECKPOINT.value:
        path = pathlib.Path(_CHECKPOINT.value)
    else:
        tell(f"looking for the published weights of {_MODEL.value}")
        path = pretrained_file(_MODEL.value)
    tell(f"reading {path}")
    encoder, coverage = mp.read_checkpoint(_MODEL.value, path, **overrides)
    tell(f"writing {_OUT.value}")
    mp.save(encoder, _OUT.value, origin=_origin(path))
    tell("checking what was written")
    written = mp.load(_OUT.value)
    tell("done")
    print(coverage.table())
    print(f"{_OUT.value}: {written.config.name}, {written.num_layers} layers")
    print(f"weights hash {mp.weights_hash(written)}")


def _overrides() -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for setting in _SET.value:
        field, equals, value = setting.partition("=")
        if not equals:
            raise mp.InputError(f"--set={setting} must be field=value.")
        try:
            # True and False also as Python spells them
            overrides[field] = json.loads(_PYTHONS.get(value, value))
        except ValueError:
            overrides[field] = value
    if _LEADS.value is not None:
        overrides["leads"] = tuple(_LEADS.value)
    return overrides


def _origin(path: pathlib.Path) -> str:
    if path.is_dir():
        return f"folder {path.name}"
    with path.open("rb") as file:
        return f"{path.name}, SHA-256 `{hashlib.file_digest(file, 'sha256').hexdigest()}`"


if __name__ == "__main__":
    run(main)
