"""A published direction of BioX-Bridge from files to a table beside the paper's.

    python -m launch.reproduce --direction=wesad_ppg2ecg --data=WESAD --checkpoints=WEIGHTS \
        --seeds=0,1,2,3,4 --out=runs/reproduce
    python -m launch.reproduce --direction=eegmat_eeg2ecg --data=EEGMAT --folds=5 --random_weights \
        --out=runs/eegmat
    python -m launch.reproduce --direction=six --simulate --out=runs/dry       minutes, no download
    python -m launch.reproduce --direction=ai4pain --data=AI4PAIN --checkpoints=WEIGHTS --out=runs/pain

WEIGHTS has a folder per encoder as launch.convert writes it, or published files. Settings are those of
the released scripts, the split is the paper's; each seed splits and starts anew. --folds has every
subject tested once and pools the folds. --simulate runs the same code on small simulated files in the
published layout, with small encoders of the same families and two epochs: a dry run, no result.
Everything can be killed and started again.
"""

import os
import pathlib

from absl import flags

from jaxbridge.data.splits import RULES
from jaxbridge.run_folder import write_json, write_rows
from launch.flags.seeds import parsed_seeds, writable
from launch.flags.transfer import given_head
from launch.published import ai4pain
from launch.published.data_sets import DATA_SETS
from launch.published.directions import ALL, DIRECTIONS, Direction, direction
from launch.published.reproduction import Reproduction, summary
from launch.published.table import beside_published, text
from launch.script import run
from model_ports.errors import InputError

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

_DIRECTION = flags.DEFINE_list(
    "direction", None, "Directions, or 'six' for those of the paper, or 'ai4pain' for fusions of "
    f"Tiny-BioMoE's pictures: {', '.join(ALL)}.", required=True,
)
_DATA = flags.DEFINE_string("data", None, "Folder with the data set, in its published layout.")
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "Folder with the weights of the encoders.")
_OUT = flags.DEFINE_string("out", None, "Folder of the study.", required=True)
_FOLDS = flags.DEFINE_integer("folds", None, "Folds over subjects in place of one split per seed.")
_RANDOM = flags.DEFINE_bool("random_weights", False, "Go without pretrained weights.")
_SIMULATE = flags.DEFINE_bool("simulate", False, "Dry run on small simulated files.")
_SCAN = flags.DEFINE_bool("scan", False, "Choose the position anew instead of taking the published.")
_SPLIT = flags.DEFINE_enum("split", None, list(RULES), "Split rule in place of the published.")
_LAYOUT = flags.DEFINE_enum(
    "bridge_layout", "paper", ["paper", "reinterpret"],
    "With LaBraM as the old encoder: the paper's formula, or the authors' code.",
)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
_WORKERS = flags.DEFINE_integer(
    "workers", _CORES, "Processes that read recordings; 0 reads in this one.", lower_bound=0
)


def main() -> None:
    seeds = parsed_seeds()
    if ai4pain.NAME in _DIRECTION.value:
        _ai4pain(seeds)
        return
    found = _directions()
    for each in found:
        _check(each)
        reproduction = Reproduction(
            direction=each, data=None if _SIMULATE.value else _DATA.value,
            checkpoints=_CHECKPOINTS.value, out=pathlib.Path(_OUT.value) / each.name,
            scan=_SCAN.value, split=_SPLIT.value, layout=_LAYOUT.value, dtype=_DTYPE.value,
            workers=0 if _SIMULATE.value else _WORKERS.value, head=given_head,
        )
        per_seed = []
        for seed in seeds:
            print(f"--- {each.name}, seed {seed}")
            per_seed.append(
                reproduction.folds(seed, _FOLDS.value) if _FOLDS.value else reproduction.seed(seed)
            )
        _tell(each, reproduction.out, per_seed)


def _ai4pain(seeds: list[int]) -> None:
    if len(_DIRECTION.value) > 1 or _FOLDS.value or _SCAN.value or _SPLIT.value:
        raise InputError(
            "ai4pain is no bridge's direction: it goes alone, without --folds, --scan and --split."
        )
    simulate, weights = _SIMULATE.value, _CHECKPOINTS.value
    ai4pain.check(_DATA.value, weights, simulate=simulate, random=_RANDOM.value)
    out = pathlib.Path(_OUT.value) / ai4pain.NAME
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        table = ai4pain.reproduce(
            out, _DATA.value, weights, simulate=simulate, seeds=seeds, dtype=_DTYPE.value
        )
    print(f"\n{table}\n")
    for condition in _conditions():
        print(condition)


def _directions() -> list[Direction]:
    names = [each for name in _DIRECTION.value for each in (DIRECTIONS if name == "six" else [name])]
    return [direction(name) for name in names]


def _check(found: Direction) -> None:
    """Refuses what is missing before anything is read."""
    data_set = DATA_SETS[found.dataset]
    if _SIMULATE.value:
        if _DATA.value or _CHECKPOINTS.value:
            raise InputError("--simulate makes its own data and weights: leave out the others.")
        if data_set.simulated is None:
            raise InputError(f"{found.dataset} is not simulated: give --data.")
        return
    if _DATA.value is None:
        raise InputError(
            f"--data is not given: name the folder with {found.dataset}, or give --simulate.\n"
            + data_set.reader.how_to_get()
        )
    if (_CHECKPOINTS.value is None) != _RANDOM.value:
        raise InputError(
            f"{found.name} needs the pretrained weights of {found.old} and {found.new}: name their "
            "folder with --checkpoints, or give --random_weights for a run without (not both)."
        )


def _tell(found: Direction, out: pathlib.Path, per_seed: list) -> None:
    rows = summary(per_seed)
    beside = beside_published(found, rows)
    with writable(out):
        write_rows(out / "summary.csv", rows)
        write_rows(out / "beside_published.csv", beside)
        write_json(out / "beside_published.json", {"conditions": _conditions(), "rows": beside})
    what = f"{len(per_seed)} seeds" if len(per_seed) > 1 else "one seed"
    if _FOLDS.value:
        what += f", {_FOLDS.value} folds over subjects, pooled (95 % intervals over subjects)"
    print(f"\n{found.name}, test windows, percent, {what}:\n\n{text(beside, len(per_seed))}\n")
    for condition in _conditions():
        print(condition)
    print(f"Table: {out / 'beside_published.csv'}\n")


def _conditions() -> list[str]:
    """What the reader of the table must know."""
    found = []
    if _SIMULATE.value:
        found.append("SIMULATED files, small encoders, two epochs: a dry run. These are no results.")
    if _SIMULATE.value or _RANDOM.value:
        found.append("RANDOM WEIGHTS: nothing pretrained; not comparable with the paper.")
    return found


if __name__ == "__main__":
    run(main, together=True)
