import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxbridge.data.published.simulated_files import write_wesad
from jaxbridge.data.store import WindowStore
from tests.jaxbridge.data.eegmat_files import write_subjects
from tests.launch.one_process import refusals

ROOT = Path(__file__).parents[2]
FLAGS = ["--eeg_leads=F3,C3", "--window_s=10", "--step_s=10"]


def prepare(*flags):
    return subprocess.run(
        [sys.executable, "-m", "launch.prepare", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("eegmat")
    write_subjects(made, 24, rest_s=60, task_s=60)
    return made


def test_store_is_made_once(folder, tmp_path):
    flags = [f"--data={folder}", f"--out={tmp_path / 'store'}", *FLAGS]
    first = prepare(*flags)
    assert first.returncode == 0, first.stderr
    assert "48/48 recordings" in first.stderr
    assert "train: 108 windows of 9 subjects (rest 54, mental arithmetic 54)" in first.stdout
    store = WindowStore.open(tmp_path / "store")
    assert store.hash in first.stdout
    assert store.shape("eeg") == (2, 10, 200)
    assert [len(store.indices(s)) for s in ("train", "val", "pair", "test")] == [108, 36, 84, 60]
    assert np.isfinite(store.read("ecg", np.arange(288))).all()

    again = prepare(*flags)
    assert again.returncode == 0
    assert "finished already" in again.stdout
    assert "recordings" not in again.stderr

    other = prepare(*flags, "--seed=1")
    assert other.returncode == 2
    assert "other inputs (different: split)" in other.stderr
    assert WindowStore.open(tmp_path / "store").hash == store.hash


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--eeg_leads=F3,Oz"], "No lead 'Oz'"),
        (["--dataset=ISRUC4"], "value should be one of <eegmat|wesad|isruc|fog"),
        (["--skip=Subject99_1"], "no recording Subject99_1 to skip"),
    ],
)
def test_bad_flags_are_one_clear_line_and_exit_2(folder, tmp_path, flags, message):
    result = prepare(f"--data={folder}", f"--out={tmp_path / 'store'}", *flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "store").exists()


def test_other_flags_that_do_not_fit(folder, tmp_path):
    cases = [
        (["--dataset=wesad", "--window_s=60"], "has no folders S2, S3"),
        (["--classes=2"], "--classes is not for eegmat"),
        (["--sizes=train=many"], "--sizes=train=many: give a number"),
        (["--sizes=train=9,val=3,val=7,test=5"], "val is there twice"),
        (["--sizes=train=20,test=9"], "need 29 subjects, there are 24"),
        (["--split=recording", "--guard_s=3"], "guard gap is for time blocks"),
        (["--split=time_block"], "give fractions"),
        (["--pair_fraction=2"], "pair fraction of 2"),
        (["--eeg_encoder=labrador"], "No preprocessing recipe for 'labrador'"),
        (["--window_s=100"], "do not fit"),
    ]
    common = [f"--data={folder}", f"--out={tmp_path / 'store'}"]
    lines = refusals("prepare", [[*common, *given] for given, _ in cases])
    for line, (given, message) in zip(lines, cases, strict=True):
        assert message in line, given
    assert not (tmp_path / "store").exists()


def test_missing_and_unusable_folders(folder, tmp_path):
    (tmp_path / "file").write_text("")
    for flags, message in (
        ([f"--out={tmp_path / 'store'}"], "--data"),
        ([f"--data={tmp_path / 'gone'}", f"--out={tmp_path / 'store'}"], "There is no folder"),
        ([f"--data={folder}", f"--out={tmp_path / 'file' / 'store'}"], "cannot be written"),
    ):
        result = prepare(*flags)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_a_published_data_set_tells_what_is_missing_and_what_overlaps(tmp_path):
    write_wesad(tmp_path / "wesad", ["S2", "S3"], minutes=1.2)
    sizes = "train=0.25,val=0.25,pair=0.25,test=0.25"
    done = prepare(
        "--dataset=wesad", f"--data={tmp_path / 'wesad'}", f"--out={tmp_path / 'store'}",
        "--split=paper", f"--sizes={sizes}", "--window_s=20", "--workers=1",
    )
    assert done.returncode == 0, done.stderr
    assert "S4/S4.pkl is missing" in done.stderr and "and 8 more" in done.stderr
    store = WindowStore.open(tmp_path / "store")
    share = store.split_report["overlap"]["test"]
    assert share > 0.5
    assert f"{100 * share:.1f} % of test" in done.stdout
    nowhere = prepare("--dataset=isruc")
    assert nowhere.returncode == 2
    assert "--data is not given" in nowhere.stderr and "ExtractedChannels" in nowhere.stderr
