"""A head, a bridge and the rest as three commands that start from each other."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

import model_ports as mp
from jaxbridge.data.store import WindowBatch, write_store
from tests.jaxbridge import tiny

_ROOT = pathlib.Path(__file__).parents[2]


def _run(script: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"launch.{script}", *flags], cwd=_ROOT, text=True,
        capture_output=True, check=False,
        env={**os.environ, "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"},
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Flags: windows, and small encoders with their weights."""
    folder = tmp_path_factory.mktemp("given")
    windows = tiny.windows(per_class=8)
    batches = []
    for split in ("train", "val", "pair", "test"):
        chosen = windows.indices(split)
        arrays = {name: windows.read(name, chosen) for name in windows.modalities}
        batches.append(WindowBatch(arrays, windows.labels[chosen], split, split, split))
    write_store(folder / "store", batches, {"class_names": list(windows.class_names), "sources": {}})
    for side, encoder in zip(("old", "new"), tiny.encoders(), strict=True):
        mp.save(encoder, folder / side)
    return [f"--store={folder / 'store'}", f"--old_weights={folder / 'old'}",
            f"--new_weights={folder / 'new'}"]


@pytest.mark.slow
def test_head_then_bridge_then_the_rest(given, tmp_path):
    head, out = tmp_path / "head", tmp_path / "run"
    preset = ["--preset=isruc_eeg2ecg", "--head_epochs=3"]
    done = _run("fit_head", *given[:2], *preset, f"--out={head}", "--seeds=1")
    assert done.returncode == 0, done.stderr
    assert "val\n" in done.stdout and "test\n" in done.stdout
    saved = head / "seed_1" / "run" / "head" / "pretrained"
    settings = json.loads((saved / "config.json").read_text())["settings"]
    assert settings["learning_rate"] == 5e-4 and settings["epochs"] == 3  # preset, flag
    assert settings["class_weights"] == [1 / 4687, 1 / 14550] and settings["batch_size"] == 64
    bridge = [f"--head={head}/seed_{{seed}}/run/head/pretrained", "--position=1,1", "--rank=2",
              "--prototypes=3", "--epochs=2", "--batch_size=8", "--seeds=1", f"--out={out}"]
    done = _run("train", *given, *bridge)
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "seed_1" / "run" / "pretrained" / "config.json").read_text())
    assert config["position"] == [1, 1] and config["bridge"]["rank"] == 2
    assert not (out / "seed_1" / "run" / "report").exists()
    done = _run("transfer", *given, *bridge)
    assert done.returncode == 0, done.stderr
    assert "bridge: done before, kept" in done.stderr and "teacher" not in done.stderr
    with (out / "summary.csv").open() as file:
        transferred = {(row["method"], row["split"]): row for row in csv.DictReader(file)}
    rows = json.loads((head / "seed_1" / "run" / "head" / "metrics.json").read_text())
    fitted = {row["split"]: row["accuracy"] for row in rows}
    assert float(transferred["teacher", "test"]["accuracy"]) == fitted["test"]


@pytest.mark.parametrize(("script", "flags", "message"), [
    ("train", ["--position=1,1"], "--head is not given"),
    ("train", ["--head=/nowhere", "--store=/nowhere"], "--position is not given"),
    ("fit_head", ["--class_weights=1,2,3"], "a positive one for each of the 2 classes"),
    ("fit_head", ["--preset=wesad_ppg2ecg", "--old=labram", "--old_modality=eeg"],
     "labram has no dropout here"),
])
def test_refusals(given, tmp_path, script, flags, message):
    refused = _run(script, *given, *flags, f"--out={tmp_path / 'run'}")
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr and "Traceback" not in refused.stderr
