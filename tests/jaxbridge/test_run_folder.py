"""What a run's folder says of damaged files, and of errors that are not its own."""

import errno
import json
import pathlib

import numpy as np
import pytest

from jaxbridge.run_folder import RunFolder, read_arrays, read_curve, read_json
from model_ports.errors import InputError


def _stopped_by(tmp_path, error):
    def compute(folder):
        raise error

    with pytest.raises(InputError) as told:
        RunFolder(tmp_path / "run", {}, ("teacher",)).stage("teacher", compute)
    return str(told.value)


@pytest.mark.parametrize("error", [
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/windows/eeg/0.0"),
    PermissionError(errno.EACCES, "Permission denied", "/windows/eeg/0.0"),
    ConnectionError("the server at http://tracking is away"),
])
def test_what_a_stage_could_not_read_or_reach_is_no_folder_that_cannot_be_written(tmp_path, error):
    told = _stopped_by(tmp_path, error)
    assert "cannot be written" not in told
    assert "stage teacher stopped" in told and "the same command goes on" in told
    assert (error.filename or "http://tracking") in told


def test_a_full_disk_and_a_folder_of_others_are_told_as_such(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    others = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "run" / "x" / "y"))
    for error in (full, others):
        assert f"{tmp_path / 'run'} cannot be written: {error.strerror}" in _stopped_by(tmp_path, error)


def test_a_record_that_a_full_disk_cut_off_is_written_again(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()  # as `open` does before nothing can be written
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(InputError, match="cannot be written: No space left"):
            RunFolder(tmp_path / "run", {"seed": 0}, ())
    RunFolder(tmp_path / "run", {"seed": 0}, ())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        RunFolder(tmp_path / "other", {"seed": 0}, ())


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_record_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match="run.json is damaged; give another folder"):
        RunFolder(tmp_path, {"seed": 0}, ())


@pytest.mark.parametrize(("read", "content"), [
    (read_json, b""), (read_json, b'{"a": \xff}'), (read_curve, b"epoch,train_loss,val_loss\n1,0.5\n"),
    (read_curve, b"a,b\n1,2\n"), (read_arrays, b"PK\x03\x04 short"), (read_arrays, b""),
])
def test_damaged_files_are_named_with_the_remedy(tmp_path, read, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=f"{tmp_path / 'file'} is damaged; .*--rerun"):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", [read_json, read_curve, read_arrays])
def test_missing_files_of_a_finished_stage_are_named_with_the_remedy(tmp_path, read):
    with pytest.raises(InputError, match=f"{tmp_path / 'file'} is missing; .*--rerun"):
        read(tmp_path / "file")


def test_whole_files_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    (tmp_path / "a.json").write_text(json.dumps({"name": "Schläfer"}, ensure_ascii=False), "utf-8")
    assert read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
    assert read_json(tmp_path / "a.json") == {"name": "Schläfer"}


def test_the_time_of_a_stage_that_went_on_is_marked(tmp_path):
    def killed(folder):
        raise KeyboardInterrupt

    run = RunFolder(tmp_path / "run", {}, ("features", "bridge"))
    run.stage("features", lambda folder: None, goes_on=True)
    with pytest.raises(KeyboardInterrupt):
        run.stage("bridge", killed, goes_on=True)
    again = RunFolder(tmp_path / "run", {}, ("features", "bridge"))
    again.stage("bridge", lambda folder: None, goes_on=True)
    resumed = {
        name: read_json(tmp_path / "run" / name / "done.json")["resumed"]
        for name in ("features", "bridge")
    }
    assert resumed == {"features": False, "bridge": True}
