"""One run per seed, and their summary."""

import csv
import pathlib
from collections.abc import Callable, Sequence

from absl import flags

from jaxbridge.pipeline import TransferResult
from jaxbridge.report import table
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
    """Calls `run(seed, out/seed_N)` for each seed, writes out/summary.csv and prints the table."""
    results = []
    for seed in seeds:
        print(f"--- seed {seed}")
        result = run(seed, out / f"seed_{seed}")
        results.append(result.metrics)
        if result.selection is not None:
            chosen = result.selection
            print(
                f"chosen: output of new layer {chosen.m} into the input of old layer {chosen.l}"
            )
    rows = table.summarise(results)
    try:
        with (out / "summary.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write {out / 'summary.csv'}: {error.strerror}.") from None
    count = "one seed" if len(seeds) == 1 else f"mean ± standard deviation of {len(seeds)} seeds"
    print(f"\nTest subjects, {count}:\n\n{table.text(rows)}\n")
    print(f"Table: {out / 'summary.csv'}")
    first = out / f"seed_{seeds[0]}"
    for picture in sorted(first.rglob("*.png")):
        print(f"Picture: {picture}")
