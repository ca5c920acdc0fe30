"""Everything in a row: windows, teacher, capture, scan, bridge, controls, table and pictures.

    python -m launch.transfer --data=DIR --out=DIR                  old = EEG, new = ECG
    python -m launch.transfer --store=WINDOWS --out=DIR             windows prepared before

Every stage's output is in the run folder; a finished stage is not run again unless --rerun names
it. Without --old_weights and --new_weights the encoders start from random weights, and the log says
so.
"""

import pathlib

from absl import flags

import model_ports as mp
from jaxbridge import transfer
from jaxbridge.pipeline import STAGES
from launch.run_flags import encoders, settings, windows
from launch.script import run
from launch.seeds import parsed_seeds, run_seeds
from model_ports.errors import InputError

_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)
_RERUN = flags.DEFINE_list("rerun", [], f"Stages to run again: {', '.join(STAGES)}.")
_POSITION = flags.DEFINE_string(
    "position", "scan", "'scan', or m,l: new layer output m into old layer input l (or 'head')."
)


def _position(old: mp.Encoder) -> tuple[int, int] | None:
    if _POSITION.value == "scan":
        return None
    m, _, l = _POSITION.value.partition(",")  # noqa: E741
    try:
        return int(m), old.num_layers if l.strip() == "head" else int(l)
    except ValueError:
        raise InputError(
            f"--position={_POSITION.value}: give 'scan', or two layer numbers such as 7,2, "
            "or 7,head."
        ) from None


def main() -> None:
    def one(seed: int, folder: pathlib.Path):
        store = windows(folder, seed)
        old, new = encoders(seed, store)
        return transfer(
            store, old, new, settings(seed, _position(old)), out=folder / "run", rerun=_RERUN.value
        )

    run_seeds(pathlib.Path(_OUT.value), parsed_seeds(), one)


if __name__ == "__main__":
    run(main, together=True)
