"""Measures every encoder against its PyTorch original, and writes the table of README.md.

    python -m launch.status                    # all of them, about ten minutes on two cores
    python -m launch.status --models=labram    # one, the others stay as they were measured
    python -m launch.status --table_only       # the table again from what is measured already

Figures go to launch/status.json, the table between two markers of README.md. Nothing is typed.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from typing import Any

import jax
from absl import flags

import model_ports as mp
from launch.readme_table import README, with_table
from launch.script import run
from model_ports import fidelity

ROOT = pathlib.Path(__file__).parents[1]
JSON = ROOT / "launch" / "status.json"

_GOLDEN = flags.DEFINE_string(
    "golden", str(ROOT / "tests" / "data" / "golden"), "Folder of the goldens' folders."
)
_RECIPE = flags.DEFINE_string(
    "recipe", str(ROOT / "tests" / "recipe.py"), "Python file that fills weights and inputs."
)
_MODELS = flags.DEFINE_list("models", None, "Encoders to measure; all if left out.")
_TABLE_ONLY = flags.DEFINE_bool("table_only", False, "Measure nothing, write the table again.")


def main() -> None:
    if not _TABLE_ONLY.value:
        names = mp.available() if _MODELS.value is None else tuple(_MODELS.value)
        for name in names:
            mp.sources(name)  # a name that is none is told before anything is measured
        recipe = fidelity.read_recipe(_RECIPE.value)
        for variant in fidelity.VARIANTS:
            if variant.encoder in names:
                found = fidelity.measure(variant, _GOLDEN.value, recipe)
                print(
                    f"{found.folder}: {found.checks} arrays, largest relative error "
                    f"{found.max_error:.1e} ({found.worst})", file=sys.stderr, flush=True,
                )
                record(found)  # at once, so that nothing measured is lost
    text = table(json.loads(JSON.read_text()))
    README.write_text(with_table(README.read_text(), "launch.status", text))
    print(f"{README}: table written")


def record(found: fidelity.Fidelity) -> None:
    """Puts one measurement, with when and on what it was made, into launch/status.json."""
    measured = json.loads(JSON.read_text()) if JSON.exists() else {}
    measured[found.folder] = {
        **dataclasses.asdict(found),
        "date": datetime.date.today().isoformat(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")},
        "machine": f"{jax.default_backend()}, {platform.machine()}, {os.cpu_count()} cores",
    }
    JSON.write_text(json.dumps(dict(sorted(measured.items())), indent=1) + "\n")


def table(measured: dict[str, dict[str, Any]]) -> str:
    """Returns the table as Markdown, one row per encoder, its worst golden counting.

    Args:
        measured: content of launch/status.json, golden -> measurement.
    """
    lines = [
        "| encoder | reads | layers | parameters | max error | source | licence |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    apart = []
    for name in sorted({found["encoder"] for found in measured.values()}):
        found = [m for m in measured.values() if m["encoder"] == name]
        worst = max(found, key=lambda m: m["max_error"])
        source = mp.sources(name)
        marks = [f"{check} {error:.0e}" for m in found
                 for check, error in m["ill_conditioned"].items()]
        apart += [f"{name}'s {mark}" for mark in marks]
        lines.append(
            f"| `{name}` | {source.modality} | {worst['num_layers']} | {worst['parameters']:,} | "
            f"{worst['max_error']:.1e}{'*' * bool(marks)} | [code]({source.code}), "
            f"[weights]({source.page}) | {source.licence} |"
        )
    dates = sorted({found["date"] for found in measured.values()})
    machines = sorted({found["machine"] for found in measured.values()})
    note = (
        "Largest relative error of any layer, final output or suffix against the PyTorch original, "
        f"float32, {'; '.join(machines)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, "
        "by `python -m launch.status`."
    )
    if apart:
        note += f" *Ill-conditioned and left out: {', '.join(apart)} (see BUILD_NOTES.md)."
    return "\n".join([*lines, "", note])


if __name__ == "__main__":
    run(main)
