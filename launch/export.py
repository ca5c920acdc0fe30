r"""The whole bridged model as one file that runs with JAX alone, for any batch size.

    python -m launch.export --bridge=RUN/report/pretrained --old_weights=DIR --new_weights=DIR \
        --out=FILE

Whoever runs it needs jax and flatbuffers, not this package; FILE.json tells what it takes and returns:

    model = jax.export.deserialize(open(FILE, "rb").read())
    logits = model.call(signal)
"""

import pathlib

from absl import flags

from jaxbridge.exporting import PLATFORMS, export_model, write_export
from jaxbridge.pretrained import from_pretrained, pretrained_config
from launch.script import run

_BRIDGE = flags.DEFINE_string("bridge", None, "Folder of a saved bridge.", required=True)
_OLD_WEIGHTS = flags.DEFINE_string("old_weights", None, "The old encoder's folder.", required=True)
_NEW_WEIGHTS = flags.DEFINE_string("new_weights", None, "The new encoder's folder.", required=True)
_OUT = flags.DEFINE_string("out", None, "File to write.", required=True)
_PLATFORMS = flags.DEFINE_list(
    "platforms", ["cpu", "cuda", "tpu"], f"Where it shall run: {', '.join(PLATFORMS)}."
)


def main() -> None:
    config = pretrained_config(_BRIDGE.value)
    model = from_pretrained(_BRIDGE.value, old=_OLD_WEIGHTS.value, new=_NEW_WEIGHTS.value)
    exported = export_model(model, config["new"]["signal_shape"], platforms=_PLATFORMS.value)
    beside = write_export(exported, _OUT.value, config)
    size = pathlib.Path(_OUT.value).stat().st_size
    print(f"Model: {_OUT.value} ({size / 1e6:.1f} MB, {', '.join(exported.platforms)})")
    print(f"What it takes and returns: {beside}")


if __name__ == "__main__":
    run(main)
