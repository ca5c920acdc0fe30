"""One run per seed, and their summary."""

import contextlib
import functools
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import flags

from jaxbridge import hosts
from jaxbridge.pipeline import TransferResult
from jaxbridge.report import run_page, table
from jaxbridge.report.pictures import draw
from jaxbridge.run_folder import write_json, write_rows
from model_ports.errors import InputError

SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds, one run each: splits, initial values, orders.")


def parsed_seeds() -> list[int]:
    """Returns the seeds asked for; anything but integers of 0 and up is an `InputError`."""
    try:
        seeds = [int(seed) for seed in SEEDS.value]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise InputError(f"--seeds={','.join(SEEDS.value)}: give different integers from 0 up.")
    return seeds


def run_seeds(
    out: pathlib.Path, seeds: Sequence[int], run: Callable[[int, pathlib.Path], TransferResult]
) -> None:
    """Runs every seed in out/seed_N, draws its pictures and page, and prints a table of all.

    Args:
        out: folder of all runs.
        seeds: from `parsed_seeds`.
        run: (seed, folder) -> result, its run folder being folder/run.
    """
    results, pictures = [], []
    for seed in seeds:
        print(f"--- seed {seed}")
        folder = out / f"seed_{seed}"
        result = run(seed, folder)
        results.append(result.metrics)
        if result.selection is not None:
            m, l = result.selection.m, result.selection.l  # noqa: E741
            print(f"chosen: output of new layer {m} into the input of old layer {l}")
        with writable(out):
            given = {flag.name: flag.value for flag in _script_flags()}
            write_json(folder / "flags.json", given)
            write_json(folder / "command.json", {"command": shlex.join(["python", *sys.orig_argv[1:]])})
            pictures += hosts.from_first(functools.partial(_drawn, folder / "run"))
    rows = table.summarise(results)
    with writable(out):
        write_rows(out / "summary.csv", rows)
    count = "one seed" if len(seeds) == 1 else f"mean ± standard deviation of {len(seeds)} seeds"
    print(f"\nTest windows, {count}:\n\n{table.text(rows)}\n")
    print(f"Table: {out / 'summary.csv'}")
    for picture in pictures[: len(pictures) // len(seeds)]:
        print(f"{'Report' if picture.endswith('.html') else 'Picture'}: {picture}")


def _drawn(run: pathlib.Path) -> list[str]:
    return [str(path) for path in (*draw(run), run_page.write(run))]


def _script_flags() -> list[flags.Flag]:
    """The flags of this script and of the modules in launch/ that it uses."""
    by_module = flags.FLAGS.flags_by_module_dict()
    return [
        flag for module, found in by_module.items()
        if module.startswith("launch.") or module == sys.argv[0] for flag in found
    ]


@contextlib.contextmanager
def writable(out: pathlib.Path) -> Iterator[None]:
    """Turns a failed write into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}.") from None
