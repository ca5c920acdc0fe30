"""Fits a task head on the old modality's labels, and saves it for runs that start from it.

    python -m launch.fit_head --store=WINDOWS --old=labram --old_weights=DIR --out=DIR
    python -m launch.fit_head --preset=wesad_ppg2ecg --data=WESAD --old_weights=DIR --out=DIR
    python -m launch.transfer --head=DIR/seed_{seed}/run/head/pretrained ...

The flags are those of `launch.transfer`: --unfrozen trains the encoder too, --head_hidden gives a
hidden layer, --class_weights, --balance and --head_patience say how. The epoch of lowest validation
loss is kept. Killed, it goes on where it was. The saved head knows its encoder by a hash of its
weights and takes no other; an encoder that was trained is saved with it.
"""

import pathlib

from absl import flags

from jaxbridge.head_run import STAGES, fit_task_head
from jaxbridge.report import table
from jaxbridge.run_folder import write_rows
from launch.flags.preset import apply_preset
from launch.flags.run import encoder_of, settings, windows
from launch.flags.seeds import parsed_seeds, writable
from launch.script import run

_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)
_RERUN = flags.DEFINE_list("rerun", [], f"Stages to run again: {', '.join(STAGES)}.")
flags.register_validator(
    "rerun", lambda names: set(names) <= set(STAGES), f"the stages are {', '.join(STAGES)}."
)


def main() -> None:
    apply_preset()
    settings(0)  # flags that do not fit each other are refused before any windows are made
    out, results = pathlib.Path(_OUT.value), []
    for seed in parsed_seeds():
        print(f"--- seed {seed}")
        folder, wanted = out / f"seed_{seed}", settings(seed)
        store = windows(folder, seed)
        found = fit_task_head(
            store, encoder_of("old", seed, store), wanted.old_modality, wanted.head,
            out=folder / "run", seed=seed, batch_size=wanted.batch_size,
            checkpoint_every=wanted.checkpoint_every, log=wanted.log, rerun=_RERUN.value,
        )
        results.append(found.metrics)
        print(f"Head: {found.folder}")
    rows = table.summarise(results)
    with writable(out):
        write_rows(out / "summary.csv", rows)
    for split in dict.fromkeys(row["split"] for row in rows):
        print(f"\n{split}\n{table.text(rows, split)}")


if __name__ == "__main__":
    run(main, together=True)
