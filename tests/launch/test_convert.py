import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import model_ports as mp
from tests.model_ports.published import TINY, state_dict

ROOT = Path(__file__).parents[2]


def convert(*flags, **environment):
    return subprocess.run(
        [sys.executable, "-m", "launch.convert", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", **environment},
    )


@pytest.fixture(scope="module")
def settings():
    return [f"--set={field}={json.dumps(value)}" for field, value in TINY["ecg_fm"].items()]


def test_file_is_converted_and_told(tmp_path, settings):
    entries = state_dict("ecg_fm", **TINY["ecg_fm"])
    head = {"mask_emb": np.ones(32, np.float32)}
    safetensors.numpy.save_file(entries | head, tmp_path / "ecg_fm.safetensors")
    done = convert(
        "--model=ecg_fm", f"--checkpoint={tmp_path / 'ecg_fm.safetensors'}",
        f"--out={tmp_path / 'out'}", "--set=layer_norm_first=true", *settings,
    )
    assert done.returncode == 0, done.stderr
    encoder = mp.load(tmp_path / "out")
    assert encoder.config.layer_norm_first is True
    assert mp.weights_hash(encoder) == mp.weights_hash(
        mp.from_state_dict("ecg_fm", entries, layer_norm_first=True, **TINY["ecg_fm"])
    )
    assert f"weights hash {mp.weights_hash(encoder)}" in done.stdout
    assert "mask_emb" in done.stdout
    assert "parameters matched" in done.stdout
    assert "reading" in done.stderr
    assert "ecg_fm.safetensors, SHA-256" in (tmp_path / "out" / "README.md").read_text()


def test_settings_may_be_spelled_as_python_spells_them(tmp_path, settings):
    safetensors.numpy.save_file(state_dict("ecg_fm", **TINY["ecg_fm"]), tmp_path / "a.safetensors")
    done = convert(
        "--model=ecg_fm", f"--checkpoint={tmp_path / 'a.safetensors'}", f"--out={tmp_path / 'out'}",
        "--set=layer_norm_first=False", *settings,
    )
    assert done.returncode == 0, done.stderr
    assert mp.load(tmp_path / "out").config.layer_norm_first is False


def test_bad_input_is_one_line_and_code_2(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
    out = f"--out={tmp_path / 'out'}"
    for flags, message in (
        ([f"--checkpoint={tmp_path / 'a.safetensors'}", "--model=labram", out], "is not labram"),
        (["--model=labram"], "--out is needed"),
        (["--model=labram", out, "--set=depth"], "must be field=value"),
        ([f"--checkpoint={tmp_path / 'a.safetensors'}", "--model=labram", out, "--set=depth=two"],
         "depth is 'two'; it must be a whole number"),
    ):
        done = convert(*flags)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_sources_are_told():
    done = convert("--sources", "--model=labram")
    assert done.returncode == 0
    assert "labram-base.pth" in done.stdout
    assert "MIT" in done.stdout
