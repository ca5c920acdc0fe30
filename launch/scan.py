"""Which layers to bridge: scores of every layer and position, how sure they are, one picture.

    python -m launch.scan --store=WINDOWS --out=DIR             windows prepared before
    python -m launch.scan --data=DIR --out=DIR                  recordings: old = EEG, new = ECG

Fits the teacher and captures the features as `launch.transfer` does, into the same run folder:
`launch.transfer` with the same flags goes on from there, and chooses by macro F1: what another
--criterion chose needs --position and another folder. scan.csv and scan.json hold every score, scan.png
shows them.
"""

import pathlib

from absl import flags

from jaxbridge import hosts
from jaxbridge.pipeline import scan_inputs
from jaxbridge.report.scan_figure import scan_figure
from jaxbridge.report.scan_text import conclusion
from jaxbridge.run_folder import write_json, write_rows
from jaxbridge.selection.scanner import scan
from launch.flags.run import encoders, settings, windows
from launch.flags.seeds import parsed_seeds, writable
from launch.script import run
from model_ports import Encoder

_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)
_CRITERION = flags.DEFINE_enum(
    "criterion", "macro_f1", ["macro_f1", "balanced_accuracy", "log_loss"],
    "What the new layers are ranked by.",
)
_RESAMPLES = flags.DEFINE_integer(
    "resamples", 1000, "Draws of the bootstrap over subjects.", lower_bound=1
)


def main() -> None:
    settings(0)  # flags that do not fit each other are refused before any windows are made
    for seed in parsed_seeds():
        folder = pathlib.Path(_OUT.value) / f"seed_{seed}"
        store = windows(folder, seed)
        old, new = encoders(seed, store)
        given = scan_inputs(store, old, new, settings(seed), out=folder / "run")
        found = scan(
            [given.new_features.outputs(m, given.pair) for m in range(new.num_layers)],
            [given.old_features.inputs(l, given.pair) for l in range(old.num_layers)],  # noqa: E741
            given.labels,
            groups=given.groups,
            num_folds=settings(seed).folds,
            criterion=_CRITERION.value,
            resamples=_RESAMPLES.value,
            seed=seed,
        )
        with writable(folder):
            write_rows(folder / "scan.csv", found.to_rows())
            write_json(folder / "scan.json", found.as_dict())
            if hosts.first():
                picture = scan_figure(found, new=_name(new), old=_name(old))
                picture.savefig(folder / "scan.png", dpi=150)
        print(f"Table: {folder / 'scan.csv'}\nPicture: {folder / 'scan.png'}\n")
        people = "" if found.subjects is None else f" of {found.subjects} subjects"
        print(f"{_name(new)} into {_name(old)}, {len(given.pair)} pair windows{people}, seed {seed}")
        print(conclusion(found))


def _name(encoder: Encoder) -> str:
    return encoder.config.name.replace("_", " ")


if __name__ == "__main__":
    run(main, together=True)
