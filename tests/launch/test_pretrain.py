"""Sets to a pretrained encoder by command, and from there to a run that starts from it."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.data.store import WindowBatch, write_store
from tests.jaxbridge import tiny

_ROOT = pathlib.Path(__file__).parents[2]


def _run(*flags: str, script: str = "pretrain") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"launch.{script}", *flags], cwd=_ROOT, text=True,
        capture_output=True, check=False, env={**os.environ, "XLA_FLAGS": ""},
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Flags: two stores with two and three classes, and a small encoder to start from."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for name, count in (("rest", 2), ("stage", 3)):
        batches = []
        for split in ("train", "val", "test"):
            labels = np.arange(4 * count) % count
            ppg = rng.standard_normal((len(labels), 1, 40)) * (1 + labels[:, None, None])
            batches.append(
                WindowBatch({"ppg": ppg.astype(np.float32)}, labels, split, split, split)
            )
        names = [f"{name} {number}" for number in range(count)]
        write_store(folder / name, batches, {"class_names": names, "sources": {}})
    small = mp.create("papagei", rngs=nnx.Rngs(0), depth=2, features=4, embedding_features=4)
    mp.save(small, folder / "start")
    return [f"--stores={folder / 'rest'},{folder / 'stage'}", "--modality=ppg", "--encoder=papagei",
            f"--weights={folder / 'start'}", "--epochs=2", "--windows_per_set=4"]


@pytest.mark.slow
def test_pictures_of_sets_to_an_encoder_to_a_bridge(given, tmp_path):
    """As `launch.pretrain` says: the encoder that it wrote is a transfer's old one."""
    small = tiny.pictures(0)
    mp.save(small, tmp_path / "start")
    mp.save(tiny.encoders()[1], tmp_path / "new")
    done = _run(
        *given[:2], "--encoder=tiny_biomoe", f"--weights={tmp_path / 'start'}", "--epochs=1",
        "--windows_per_set=4", "--representation=waveform", f"--out={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "pretraining" / "encoder"
    windows, batches = tiny.windows(per_class=4), []
    for split in ("train", "val", "pair", "test"):
        rows = windows.indices(split)
        arrays = {"ppg": windows.read("eeg", rows)[:, :1, 0], "ecg": windows.read("ecg", rows)}
        batches.append(WindowBatch(arrays, windows.labels[rows], split, split, split))
    write_store(tmp_path / "pairs", batches, {"class_names": ["slow", "fast"], "sources": {}})
    done = _run(
        f"--store={tmp_path / 'pairs'}", "--old=tiny_biomoe", f"--old_weights={folder}",
        "--old_representation=waveform", "--old_modality=ppg", f"--new_weights={tmp_path / 'new'}",
        "--position=1,15", "--loss_at=bridge_output", "--prototypes_from=real", "--rank=2",
        "--prototypes=3", "--head_epochs=2", "--epochs=1", "--batch_size=4",
        f"--out={tmp_path / 'transfer'}", script="transfer",
    )
    assert done.returncode == 0, done.stderr
    assert "bridge, shuffled pairs" in done.stdout
    config = json.loads(next((tmp_path / "transfer").rglob("pretrained/config.json")).read_text())
    assert config["old"]["config"]["name"] == "tiny_biomoe_waveform"


@pytest.mark.slow
def test_sets_to_an_encoder(given, tmp_path):
    done = _run(*given, f"--out={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "pretraining"
    assert f"Encoder: {folder / 'encoder'}" in done.stdout
    encoder = mp.load(folder / "encoder")
    start = mp.load(given[3].partition("=")[2])
    assert encoder.config == start.config
    assert mp.weights_hash(encoder) != mp.weights_hash(start)
    assert "pretrained on rest, stage" in (folder / "encoder" / "README.md").read_text()
    with (folder / "metrics.csv").open() as file:
        rows = [(row["set"], row["split"], row["windows"]) for row in csv.DictReader(file)]
    assert rows == [(name, split, count) for name, count in (("rest", "8"), ("stage", "12"))
                    for split in ("train", "val", "test")]
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["settings"]["windows_per_set"] == 4 and settings["settings"]["epochs"] == 2
    again = _run(*given, f"--out={tmp_path / 'run'}")
    assert again.returncode == 0 and "done before, kept" in again.stderr
    assert again.stdout == done.stdout


def test_bad_flags_end_with_one_line(given, tmp_path):
    done = _run(*given[:1], "--modality=ppg,ecg,eeg", *given[2:], f"--out={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr == "error: --modality has 3 names for 2 stores; give one, or one each.\n"
