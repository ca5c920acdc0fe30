"""README's section "Your own data", command by command, on the two EDF files of one person."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.jaxbridge.data.edf_writer import write_edf

_ROOT = pathlib.Path(__file__).parents[2]
_PART_S, _PARTS = 20, 40


def _section() -> tuple[str, list[str]]:
    """The description, and the commands before and after it, in order."""
    text = (_ROOT / "README.md").read_text().split("## Your own data\n")[1].split("\n## ")[0]
    return (
        re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[1],
        re.findall(r"^    python -m (launch\.\w+ [^#\n]*)", text, flags=re.MULTILINE),
    )


def _record(folder: pathlib.Path, name: str) -> None:
    """Rest and load in turn: alpha rhythm of 40 or 10 uV, 60 or 90 beats per minute."""
    rng = np.random.default_rng(0)
    load = np.repeat(np.arange(_PARTS) % 2, _PART_S)
    seconds = np.arange(250 * len(load)) / 250
    alpha = np.repeat(np.where(load, 10, 40), 250) * np.sin(2 * np.pi * 10 * seconds)
    eeg = alpha + 10 * rng.standard_normal((2, len(alpha)))
    write_edf(
        folder / f"{name}_eeg.edf", {"EEG F3-REF": eeg[0], "EEG O1-REF": eeg[1]}, sampling_rate_hz=250
    )
    beats = np.cumsum(np.repeat(np.where(load, 1.5, 1.0), 500)) / 500
    ecg = 1000 * np.exp(-(((beats % 1 - 0.5) / 0.02) ** 2)) + 20 * rng.standard_normal(len(beats))
    write_edf(folder / f"{name}_ecg.edf", {"ECG": ecg}, sampling_rate_hz=500, physical_max=5000)
    lines = [f"{k * _PART_S},{_PART_S},{('rest', 'load')[k % 2]}" for k in range(_PARTS)]
    (folder / f"{name}_labels.csv").write_text("\n".join(["onset,duration,label", *lines, ""]))


def _shell(folder: pathlib.Path, command: str) -> str:
    done = subprocess.run(
        f"{sys.executable} -m {command}", shell=True, cwd=folder, text=True, capture_output=True,
        check=False, env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(_ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_two_edf_files_to_a_trained_bridge(tmp_path):
    description, commands = _section()
    look, generate, everything, windows, from_store = commands[:5]
    _record(tmp_path, "P01")
    assert "EEG F3-REF" in _shell(tmp_path, look)
    _shell(tmp_path, generate)
    generated = (tmp_path / "study.yaml").read_text()
    assert "encoder: labram" in generated and "align: start_time  # or sample_zero" in generated
    (tmp_path / "study.yaml").write_text(description)
    # One person: the scan cannot keep people apart, and the default is not to try.
    said = _shell(tmp_path, everything + " --epochs=1 --head_epochs=20")
    assert "chosen: output of new layer" in said and "bridge" in said
    assert (tmp_path / "runs/mine/seed_0/run/report.html").is_file()

    for number in range(2, 6):
        _record(tmp_path, f"P{number:02}")
    assert "test: " in _shell(tmp_path, windows)
    several = from_store.replace("runs/mine", "runs/several")
    said = _shell(tmp_path, several + " --epochs=1 --head_epochs=2")
    assert "59,984" in said  # rank 32 and 50 prototypes, HuBERT-ECG's 512 into LaBraM's 21 x 200
