"""Folders are whole or absent, whatever happens on the way."""

import pathlib
import resource

import numpy as np
import pytest
import safetensors.numpy

from model_ports.errors import InputError
from model_ports.whole_folder import whole_folder


def test_the_old_folder_stays_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    with whole_folder(path, "it") as aside:
        (aside / "old").write_text("")
    rename = pathlib.Path.rename

    def failing(self, target):
        if self.name == "new":
            raise OSError("the network went away")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(InputError, match="the network went away"), whole_folder(path, "it") as aside:
        (aside / "new").write_text("")
    assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_weights_that_a_full_disk_does_not_take_are_one_clear_error(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with (
            pytest.raises(InputError, match=f"cannot write it to {tmp_path / 'kept'}: .*too large"),
            whole_folder(tmp_path / "kept", "it") as aside,
        ):
            safetensors.numpy.save_file({"w": np.zeros(1000)}, aside / "model.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
