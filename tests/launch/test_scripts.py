"""Scripts as a person runs them: one command, clear refusals, exit code 2."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

from jaxbridge.data.store import WindowBatch, write_store
from tests.jaxbridge import tiny

_ROOT = pathlib.Path(__file__).parents[2]


def run(script: str, *flags: str) -> subprocess.CompletedProcess:
    # one device: the child must not inherit the suite's eight
    return subprocess.run(
        [sys.executable, "-m", f"launch.{script}", *flags], cwd=_ROOT, text=True,
        capture_output=True, check=False, env={**os.environ, "XLA_FLAGS": ""},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    """Windows that the full-size default encoders take, few of them."""
    path = tmp_path_factory.mktemp("windows") / "store"
    windows = tiny.windows(per_class=8)
    batches = []
    for split in ("train", "val", "pair", "test"):
        chosen = windows.indices(split)
        arrays = {name: windows.read(name, chosen) for name in windows.modalities}
        batches.append(WindowBatch(arrays, windows.labels[chosen], split, split, split))
    metadata = {"class_names": list(windows.class_names), "sources": {}}
    write_store(path, batches, metadata)
    return path


@pytest.mark.slow
def test_transfer_runs_full_size_encoders_end_to_end(store, tmp_path):
    flags = [
        f"--store={store}", f"--out={tmp_path / 'run'}", "--eeg_leads=O1,O2", "--head_epochs=5",
        "--epochs=1", "--rank=4", "--prototypes=5", "--position=7,11",
    ]
    done = run("transfer", *flags)
    assert done.returncode == 0, done.stderr
    assert "random weights" in done.stderr
    assert "bridge, shuffled pairs" in done.stdout
    with (tmp_path / "run" / "summary.csv").open() as file:
        rows = {(row["method"], row["split"]): row for row in csv.DictReader(file)}
    # rank * in_features + rank * tokens * prototypes + prototypes * features
    assert rows["bridge", "test"]["trainable_parameters"] == str(4 * 512 + 4 * 5 * 5 + 5 * 200)
    again = run("transfer", *flags)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done before, kept") == 5
    assert again.stdout.splitlines()[-6:] == done.stdout.splitlines()[-6:]
    refused = run("transfer", *flags, "--lr=0.5")
    assert refused.returncode == 2
    assert "other settings" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize(("flags", "message"), [
    ((), "give either --data"),
    (("--store=/nowhere",), "no window store at /nowhere"),
    (("--data=/nowhere",), "/nowhere"),
    (("--seeds=1,x",), "give different integers"),
    (("--seeds=1,1",), "give different integers"),
    (("--data=/nowhere", "--old_representation=waveform"), "draw the signals of a --store"),
    (("--epochs=many",), "epochs"),
    (("--optimizer=sgd",), "optimizer"),
    (("--bridge_layout=sideways",), "bridge_layout"),
    (("--position=7",), "give 'scan', or two layer numbers"),
    (("--rerun=bridges",), "the stages are teacher, features"),
    (("--clip_norm=-1", "--data=/nowhere"), "clip_norm is -1.0"),
    (("run1",), "unexpected argument 'run1'"),
])
def test_bad_flags_exit_with_2_and_one_message(tmp_path, flags, message):
    refused = run("transfer", f"--out={tmp_path / 'run'}", *flags)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((tmp_path / "run").glob("*/run"))


def test_a_head_has_two_stages(tmp_path):
    refused = run("fit_head", f"--out={tmp_path / 'run'}", "--data=/nowhere", "--rerun=scan")
    assert refused.returncode == 2
    assert "the stages are teacher, head." in refused.stderr and not list(tmp_path.iterdir())


def test_missing_required_flag():
    refused = run("transfer")
    assert refused.returncode == 2
    assert "--out" in refused.stderr


@pytest.mark.parametrize(("flags", "message"), [
    (["--position=9,2"], "the new encoder has layers 0 to 7"),
    (["--old=labrum"], "there is no encoder 'labrum'"),
    (["--old_weights=/nowhere"], "/nowhere"),
    (["--new_modality=emg"], "no modality 'emg'"),
    (["--old_representation=waveform"], "takes signals; only pictures have to be drawn"),
])
@pytest.mark.slow
def test_flags_that_do_not_fit_the_windows(store, tmp_path, flags, message):
    refused = run(
        "transfer", f"--store={store}", f"--out={tmp_path}", "--eeg_leads=O1,O2", *flags
    )
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr and "Traceback" not in refused.stderr


def test_leads_that_do_not_fit_the_windows(store, tmp_path):
    refused = run(
        "transfer", f"--store={store}", f"--out={tmp_path}", "--eeg_leads=O1,O2,F3",
        "--position=0,0",
    )
    assert refused.returncode == 2
    assert "takes a signal of shape (batch, 3, seconds, 200), not" in refused.stderr


def test_prepare_without_recordings(tmp_path):
    refused = run("prepare", f"--out={tmp_path / 'w'}")
    assert refused.returncode == 2
    assert "--data is not given" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_transfer_on_real_recordings(tmp_path):
    recordings = _ROOT.parent / "shared" / "signals" / "eegmat"
    if not recordings.is_dir():
        pytest.skip(f"no recordings at {recordings}")
    done = run(
        "transfer", f"--data={recordings}", f"--out={tmp_path / 'run'}", "--head_epochs=20",
        "--epochs=1", "--rank=4", "--prototypes=5",
    )
    assert done.returncode == 0, done.stderr
    assert "chosen: output of new layer" in done.stdout
    folder = tmp_path / "run" / "seed_0"
    assert (folder / "run" / "layer_scan.png").exists()
    flags = json.loads((folder / "flags.json").read_text())
    assert flags["rank"] == 4 and flags["data"] == str(recordings)
    sources = json.loads((folder / "run" / "run.json").read_text())["settings"]["sources"]
    assert len(sources) == 48
    with (tmp_path / "run" / "summary.csv").open() as file:
        rows = {(row["method"], row["split"]): row for row in csv.DictReader(file)}
    assert rows["chance", "test"]["balanced_accuracy"] == "0.5"
    assert all(0 <= float(row["balanced_accuracy"]) <= 1 for row in rows.values())
