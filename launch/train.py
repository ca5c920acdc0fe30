"""Trains a bridge at a given position from prepared windows and a saved head; nothing else.

    python -m launch.train --store=WINDOWS --head=DIR --position=7,2 --out=DIR
    python -m launch.evaluate --bridge=DIR/seed_0/run/pretrained ...

`launch.transfer` with the same flags goes on in the same folder, with controls and a table.
"""

import pathlib

from absl import flags

from jaxbridge import transfer
from launch.flags.preset import apply_preset
from launch.flags.run import encoders, settings, windows
from launch.flags.seeds import parsed_seeds
from launch.flags.transfer import HEAD, POSITION, check_head, given_head, position
from launch.script import run
from model_ports.errors import InputError

_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)


def main() -> None:
    apply_preset()
    if HEAD.value is None:
        raise InputError("--head is not given: fit one with launch.fit_head, and name its folder.")
    if POSITION.value == "scan":
        raise InputError("--position is not given: find one with launch.scan, such as 7,2.")
    check_head()
    settings(0)  # flags that do not fit each other are refused before any windows are made
    for seed in parsed_seeds():
        folder = pathlib.Path(_OUT.value) / f"seed_{seed}"
        store = windows(folder, seed)
        old, new = encoders(seed, store)
        transfer(
            store, old, new, settings(seed, position(old)), out=folder / "run",
            head=given_head(old, seed), until="bridge",
        )
        print(f"Bridge: {folder / 'run' / 'pretrained'}")


if __name__ == "__main__":
    run(main, together=True)
