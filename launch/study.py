"""A study: many variations of one thing, on every seed and fold, as a table, figures and a page.

    python -m launch.study --study=methods --out=runs/methods --seeds=0,1,2,3,4
    python -m launch.study --study=pairs --data=EEGMAT_DIR --out=runs/pairs --folds=5

Every finished job is kept: the same command goes on with a study that was killed, and tries failed
jobs again. More seeds, or other methods and variations, can be asked for in the same folder.
"""

import pathlib
import shlex
import sys

import jax
from absl import flags

from jaxbridge import methods
from jaxbridge.report import study_page
from jaxbridge.run_folder import read_json
from jaxbridge.studies import Setup, catalogue, run_study
from launch.flags.dataset import DATA, OF_SPLIT, OF_WINDOWS
from launch.flags.given import refuse
from launch.flags.seeds import parsed_seeds
from launch.script import run
from launch.studies.setups import DIRECTIONS, miniature, recorded, simulated
from model_ports.errors import InputError

_STUDY = flags.DEFINE_enum("study", None, catalogue.available(), "Which one.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the study.", required=True)
_DIRECTION = flags.DEFINE_enum(
    "direction", DIRECTIONS[0], DIRECTIONS, "Old and new modality: whose labels teach, and who learns."
)
_PRETRAINED = flags.DEFINE_bool(
    "pretrained", False, "Simulation: encoders pretrained on other people, a quarter of an hour once; "
    "else random weights."
)
_PRETRAINING = flags.DEFINE_integer(
    "pretraining", 0, "With --pretrained: which pretraining; each is of other people from other "
    "weights.", lower_bound=0,
)
_FOLDS = flags.DEFINE_integer(
    "folds", 5, "Folds by subject, for recordings; simulated people have splits.", lower_bound=2
)
_METHODS = flags.DEFINE_string(
    "methods", "",
    "Names of methods between semicolons, for studies that compare them; by default all in "
    "--study=methods, some that train by gradients in --study=learning_rate and --study=schedule, "
    "elsewhere "
    f"{'; '.join(catalogue.COMPARED)}. There are: {'; '.join(methods.available())}.",
)
_ONLY = flags.DEFINE_string(
    "only", "", "Only variations whose name holds one of these words, between semicolons."
)
_PREPARED = flags.DEFINE_string(
    "prepared", None, "Folder of windows, teachers and features, which studies on the same data may "
    "share, one at a time; by default within --out.",
)
_TOGETHER = flags.DEFINE_bool(
    "together", None, "Train bridges that differ in settings alone in one compiled step; by default "
    "where there is an accelerator."
)
_MINIATURE = flags.DEFINE_bool(
    "miniature", False, "A minute of work on tiny encoders and few windows, to see that all runs."
)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(";") if name.strip()]


def _together() -> bool:
    # On a CPU one bridge keeps the cores busy: together saves a sixth of the time, for their memory.
    return jax.default_backend() != "cpu" if _TOGETHER.value is None else _TOGETHER.value


def _setup(prepared: pathlib.Path) -> Setup:
    on_files = DATA.value not in (None, "simulation")
    if on_files:
        refuse(
            (*OF_SPLIT, "pair_fraction"), "does not count in a study: --folds deals out the subjects"
        )
    else:
        refuse(
            ("folds", *OF_WINDOWS, "eeg_leads", "pair_fraction"),
            "is for recordings (--data), and this study simulates its own",
        )
    if not _PRETRAINED.value:
        refuse(["pretraining"], "counts with --pretrained alone")
    if on_files and (_PRETRAINED.value or _MINIATURE.value):
        raise InputError("--pretrained and --miniature are for the simulation: leave out --data.")
    if _MINIATURE.value:
        if _PRETRAINED.value:
            raise InputError("--miniature has random weights: leave out --pretrained.")
        return miniature(_DIRECTION.value)
    if on_files:
        return recorded(_FOLDS.value, _DIRECTION.value)
    return simulated(
        _DIRECTION.value, prepared / "pretrained" if _PRETRAINED.value else None, _PRETRAINING.value
    )


def main() -> None:
    out = pathlib.Path(_OUT.value)
    prepared = pathlib.Path(_PREPARED.value) if _PREPARED.value else out / "data"
    setup = _setup(prepared)
    study = catalogue.study(_STUDY.value, setup, _names(_METHODS.value))
    if only := _names(_ONLY.value):
        study = study.only(only)
    if jax.config.jax_compilation_cache_dir is None:
        # Jobs of one kind compile the same programs.
        jax.config.update("jax_compilation_cache_dir", str((prepared / "compiled").resolve()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    failed = run_study(
        study, setup, out, parsed_seeds(), prepared=prepared, together=_together(),
        command=shlex.join(["python", "-m", "launch.study", *sys.argv[1:]]),
    )
    if (out / "results.csv").exists():
        page = study_page.write(out)
        tables = (out / "tables.md").read_text(encoding="utf-8")
        print(f"\n{tables}\nTable: {out / 'results.csv'}\nPage: {page}")
    if failed:
        for failure in read_json(out / "study.json")["failed"]:
            print("failed: {variation}, seed {seed}, fold {fold}: {error}".format(**failure))
        sys.exit(1)


if __name__ == "__main__":
    run(main)
