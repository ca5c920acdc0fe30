"""`launch.prepare` and `launch.transfer` with a description of one's own recordings."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxbridge.data.store import WindowStore
from tests.jaxbridge.data.recordings.small_files import describe, leads, write

_ROOT = pathlib.Path(__file__).parents[2]


def run(script, *flags):
    return subprocess.run(
        [sys.executable, "-m", f"launch.{script}", *flags], cwd=_ROOT, text=True,
        capture_output=True, check=False, env={**os.environ, "XLA_FLAGS": ""},
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for number in range(3):
        signals = leads(25, seed=number)
        signals["II"][100 : 100 + number] = np.nan
        write(folder, "npz", signals, f"P{number}")
    return describe(folder / "study.yaml", "npz", head="gaps: {interpolate_up_to_s: 0.1}")


@pytest.fixture(scope="module")
def store(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "windows"
    done = run("prepare", f"--data={study}", f"--out={out}", "--workers=2")
    assert done.returncode == 0, done.stderr
    return out, done


def test_unlabelled_recordings_become_pairs(store):
    out, done = store
    assert "pair: 12 windows of 3 subjects (unlabelled 12)" in done.stdout
    opened = WindowStore.open(out)
    assert opened.metadata["dataset"] == "small" and opened.shape("ppg") == (1, 1250)
    # from the workers, though their own logs are not seen
    assert "P1: 4 windows; II: 1 samples interpolated" in done.stderr
    assert "P0:" not in done.stderr
    notes = opened.split_report["notes"]
    assert notes["P2"]["interpolated_samples"] == {"ecg": {"II": 2}}


@pytest.mark.parametrize(("flags", "message"), [
    (["--window_s=5"], "--window_s is stated in"),
    (["--ecg_encoder=ecg_fm"], "--ecg_encoder is for published layouts"),
    (["--data=gone.yaml"], "There is no description gone.yaml"),
])
def test_flags_that_do_not_fit_a_description(study, tmp_path, flags, message):
    done = run("prepare", f"--data={study}", f"--out={tmp_path / 'w'}", "--workers=0", *flags)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_windows_made_for_another_encoder_are_refused(store, tmp_path):
    done = run(
        "transfer", f"--store={store[0]}", f"--out={tmp_path}", "--old=ecg_fm", "--old_modality=ecg",
        "--new=papagei", "--new_modality=ppg",
    )
    assert done.returncode == 2
    assert "windows of ecg were made for hubert_ecg_small, not for ecg_fm" in done.stderr
