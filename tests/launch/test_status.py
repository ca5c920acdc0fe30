"""The table of README.md is what was measured, and what was measured covers every encoder."""

import json

import numpy as np
import pytest

import model_ports as mp
from launch import status
from launch.readme_table import README, with_table
from model_ports import fidelity
from tests import recipe
from tests.golden import ROOT


@pytest.fixture(scope="module")
def measured() -> dict:
    return json.loads(status.JSON.read_text())


def test_readme_holds_the_table_of_what_was_measured(measured):
    readme = README.read_text()
    assert with_table(readme, "launch.status", status.table(measured)) == readme


def test_every_golden_was_measured_and_is_within_the_promise(measured):
    assert {found["encoder"] for found in measured.values()} == set(mp.available())
    assert set(measured) == {variant.folder for variant in fidelity.VARIANTS}
    for folder, found in measured.items():
        assert found["max_error"] < 1e-5, folder
        shapes = np.load(ROOT / folder / "golden.npz").files
        layers = {name.split("_")[0] for name in shapes if name.startswith("layer")}
        assert found["num_layers"] == len(layers)


def test_a_wrong_weight_shows():
    """The measurement is of the weights given, and of the worst array."""
    variant = next(v for v in fidelity.VARIANTS if v.folder == "papagei")
    good = fidelity.measure(variant, ROOT, recipe)
    assert good.max_error < 1e-5
    assert good.checks == 18 * 4 + 1 + 2

    class Other:
        """The recipe with one bias moved by 1 %."""

        signal = staticmethod(recipe.signal)

        @staticmethod
        def tensor(name, shape, salt):
            values = recipe.tensor(name, shape, salt)
            return values * np.float32(1.01) if name == "dense.bias" else values

    moved = fidelity.measure(variant, ROOT, Other)
    assert moved.worst == "final_output"
    assert moved.max_error > 1e-4


def test_goldens_and_recipes_that_are_none(tmp_path):
    with pytest.raises(mp.InputError, match="is no golden"):
        fidelity.Golden(tmp_path, recipe)
    with pytest.raises(mp.InputError, match="there is no recipe"):
        fidelity.read_recipe(tmp_path / "recipe.py")
    (tmp_path / "recipe.py").write_text("def signal(seed, shape): ...\n")
    with pytest.raises(mp.InputError, match="has no tensor"):
        fidelity.read_recipe(tmp_path / "recipe.py")
    with pytest.raises(mp.InputError, match="must hold"):
        with_table("no markers", "launch.status", "table")


def test_worst_golden_counts_and_ill_conditioned_checks_are_named():
    found = {
        "encoder": "labram", "num_layers": 12, "parameters": 5_800_000, "max_error": 1.5e-6,
        "ill_conditioned": {}, "date": "2026-01-02", "machine": "cpu",
    }
    other = found | {"max_error": 3.2e-6, "ill_conditioned": {"suffix_from_2": 8e-5}}
    text = status.table({"a": found, "b": other})
    assert "| `labram` | EEG | 12 | 5,800,000 | 3.2e-06* |" in text
    assert "labram's suffix_from_2 8e-05" in text
    assert "2026-01-02, by" in text
