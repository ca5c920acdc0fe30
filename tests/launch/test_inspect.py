"""`python -m launch.inspect`, and that a module of this name leaves the standard library alone."""

import os
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml

from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.opening import open_file
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.overview import skeleton, summarise, table
from model_ports.errors import InputError
from tests.jaxbridge.data.edf_writer import write_edf
from tests.jaxbridge.data.recordings.small_files import leads, write
from tests.jaxbridge.data.recordings.two_edf_files import write_two_files

_ROOT = pathlib.Path(__file__).parents[2]


def run(*command, cwd=_ROOT, **variables):
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, text=True, capture_output=True, check=False,
        env={**os.environ, "XLA_FLAGS": "", **variables},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("inspect")
    write_two_files(made, parts=4)
    signals = leads(20)
    signals["PLETH"][:400] = float("nan")
    signals["II"][:] = 1.5
    write(made, "csv", signals, "odd")
    return made


def test_leads_rates_units_and_encoders(folder):
    done = run("-m", "launch.inspect", str(folder / "P01_eeg.edf"), str(folder / "odd.csv"))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("\n\n")
    assert "P01_eeg.edf: 4 leads" in first and "start: 2020-01-01 00:00:00" in first
    row = next(line.split() for line in first.splitlines() if "F3-REF" in line)
    assert row[:6] == ["EEG", "F3-REF", "250", "uV", "80.000", "0"]
    assert row[-4:] == ["EEG", "labram,", "normwear,", "tiny_biomoe"]
    assert "start: not stated" in second
    rows = {line.split()[0]: line for line in second.splitlines()[3:]}
    assert rows["PLETH"].split()[1:5] == ["?", "?", "?", "10"] and "papagei" in rows["PLETH"]
    assert rows["II"].endswith("constant") and "hubert_ecg" in rows["II"]


def test_description_to_start_from_reads_the_files(folder, tmp_path):
    files = [str(folder / f"P01_{kind}.edf") for kind in ("eeg", "ecg")]
    done = run("-m", "launch.inspect", "--yaml", *files)
    assert done.returncode == 0, done.stderr
    (tmp_path / "study.yaml").write_text(done.stdout)
    data = Recordings.from_yaml(tmp_path / "study.yaml")
    assert data.leads == {"eeg": ("F3", "F4", "O1", "O2"), "ecg": ("ECG",)}
    batch = data.windows("P01")
    assert batch.arrays["eeg"].shape == (8, 4, 10, 200) and batch.arrays["ecg"].shape == (8, 1000)


def test_description_says_what_must_be_filled_in(folder):
    done = run("-m", "launch.inspect", "--yaml", str(folder / "odd.csv"))
    modality = yaml.safe_load(done.stdout)["modalities"]["ppg"]
    assert (modality["sampling_rate_hz"], modality["unit"]) == ("?", "?")


def test_two_leads_of_one_name_cost_no_other(tmp_path):
    noise = np.random.default_rng(0).uniform(-90, 90, 400)
    path = tmp_path / "night.edf"
    write_edf(path, dict.fromkeys("abc", noise), sampling_rate_hz=200, labels=["EEG F3", "EMG", "EMG"])
    contents = open_file(path)
    rows = table(contents, summarise(contents)).splitlines()[-3:]
    assert "89." in rows[0] and rows[0].endswith("tiny_biomoe")
    assert all(row.endswith("not the only one of its name") and "2.000" in row for row in rows[1:])
    with pytest.raises(InputError, match="two signals are called 'EMG'"):
        contents.load([1])


def test_description_of_two_devices_with_the_same_kind_of_lead(tmp_path):
    for device in (1, 2):
        write(tmp_path, "edf", leads(20), f"P01_{device}")
        write(tmp_path, "edf", leads(20), f"P02_{device}")
    files = [open_file(tmp_path / f"P01_{device}.edf") for device in (1, 2)]
    (tmp_path / "study.yaml").write_text(skeleton([(contents, FileOptions()) for contents in files]))
    data = Recordings.from_yaml(tmp_path / "study.yaml")
    assert list(data.leads) == ["ecg", "ppg", "ecg_file_2", "ppg_file_2"]
    assert list(data.recordings) == ["P01", "P02"]
    assert set(data.windows("P01").arrays) == set(data.leads)


def test_description_of_one_kind_of_lead_at_two_rates(tmp_path):
    path = tmp_path / "P01.h5"
    with h5py.File(path, "w") as file:
        for name, stated in (("ECG a", {"fs": 200.0}), ("ECG b", {"fs": 500.0}), ("ECG c", {})):
            file.create_dataset(name, data=leads()["II"]).attrs.update({"unit": "mV"} | stated)
    text = skeleton([(open_file(path), FileOptions())])
    assert list(yaml.safe_load(text)["modalities"]) == ["ecg", "ecg_h5", "ecg_h5_unknown_rate"]


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "no file is given"),
    (("gone.edf",), "gone.edf does not exist"),
])
def test_bad_input_is_one_line_and_exit_2(folder, arguments, message):
    arguments = [a if a.startswith("--") else str(folder / a) for a in arguments]
    done = run("-m", "launch.inspect", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_scripts_run_as_files_find_the_standard_librarys_inspect(folder):
    """`python launch/x.py` puts launch/ in front of the standard library."""
    done = run("launch/inspect.py", str(folder / "P01_ecg.edf"))
    assert done.returncode == 0, done.stderr
    assert "P01_ecg.edf: 1 leads" in done.stdout
    done = run("launch/prepare.py")  # any other script
    assert done.returncode == 2 and "--data is not given" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_stands_aside_on_any_path(tmp_path):
    where = tmp_path / "launch"
    where.mkdir()
    shutil.copy(_ROOT / "launch" / "inspect.py", where)
    ask = (
        "import inspect, dataclasses, sys; from inspect import signature; "
        "assert inspect is sys.modules['inspect']; "
        "print(inspect.__file__, inspect.signature(len), inspect.__spec__.name)"
    )
    for cwd, path in ((where, ""), (tmp_path, str(where))):
        done = run("-c", ask, cwd=cwd, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr
        assert str(where) not in done.stdout and done.stdout.endswith("(obj, /) inspect\n")
