"""Everything in a row: windows, teacher, capture, scan, bridge, controls, table and pictures.

    python -m launch.transfer --data=DIR --out=DIR                  old = EEG, new = ECG
    python -m launch.transfer --store=WINDOWS --out=DIR             windows prepared before
    python -m launch.transfer --head=DIR ...                        from a head of launch.fit_head

Every stage's output is in the run folder; a finished stage is not run again unless --rerun names
it. Without --old_weights and --new_weights the encoders start from random weights, and the log says
so.
"""

import pathlib

from absl import flags

from jaxbridge import transfer
from jaxbridge.pipeline import STAGES
from launch.flags.preset import apply_preset
from launch.flags.run import encoders, settings, windows
from launch.flags.seeds import parsed_seeds, run_seeds
from launch.flags.transfer import check_head, given_head, position
from launch.script import run

_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)
_RERUN = flags.DEFINE_list(
    "rerun", [], f"Stages to run again, all later ones with them: {', '.join(STAGES)}. Leave it out to "
    "go on with a run that was killed: it would begin anew.",
)
flags.register_validator(
    "rerun", lambda names: set(names) <= set(STAGES), f"the stages are {', '.join(STAGES)}."
)


def main() -> None:
    apply_preset()
    check_head()
    settings(0)  # flags that do not fit each other are refused before any windows are made

    def one(seed: int, folder: pathlib.Path):
        store = windows(folder, seed)
        old, new = encoders(seed, store)
        return transfer(
            store, old, new, settings(seed, position(old)), out=folder / "run", rerun=_RERUN.value,
            head=given_head(old, seed),
        )

    run_seeds(pathlib.Path(_OUT.value), parsed_seeds(), one)


if __name__ == "__main__":
    run(main, together=True)
