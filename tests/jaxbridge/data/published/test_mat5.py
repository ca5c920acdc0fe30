"""Mapped arrays are those that SciPy reads; whatever else a file may be is left to SciPy."""

import numpy as np
import pytest
import scipy.io

from jaxbridge.data.published.mat5 import mapped_arrays

CONTENT = {
    "F3_A2": np.random.default_rng(0).normal(size=(7, 60)),
    "x": np.arange(12, dtype=np.int16).reshape(3, 4),  # a name short enough for the tag
    "single": np.float32([[1.5, 2.5, 3.5]]),
    "whole": np.arange(6.0).reshape(2, 3),
    "name": "some text",
}
NUMBERS = ["F3_A2", "x", "single", "whole"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "content.mat"
    scipy.io.savemat(path, CONTENT)
    return path


def test_arrays_are_those_that_scipy_reads(path):
    found = mapped_arrays(path, [*NUMBERS, "absent"])
    wanted = scipy.io.loadmat(path)
    assert sorted(found) == sorted(NUMBERS)
    for name in NUMBERS:
        np.testing.assert_array_equal(found[name], wanted[name])
        assert found[name].dtype == wanted[name].dtype and not found[name].flags.writeable


@pytest.mark.parametrize("names", [["name"], ["z"]])
def test_what_is_not_real_numbers_is_left(tmp_path, names):
    path = tmp_path / "other.mat"
    scipy.io.savemat(path, CONTENT | {"z": np.array([1j, 2])})
    assert mapped_arrays(path, names) is None
    assert list(mapped_arrays(path, ["whole"])) == ["whole"]


def test_other_files_are_left(path, tmp_path):
    whole = path.read_bytes()
    other = tmp_path / "other.mat"
    for size in (0, 10, 127, 130, 140, 200, len(whole) - 1):
        other.write_bytes(whole[:size])
        assert mapped_arrays(other, NUMBERS) is None
    scipy.io.savemat(other, CONTENT, do_compression=True)
    assert mapped_arrays(other, NUMBERS) is None
    scipy.io.savemat(other, {"x": CONTENT["x"]}, format="4")
    assert mapped_arrays(other, ["x"]) is None
    with pytest.raises(OSError):
        mapped_arrays(tmp_path / "absent.mat", NUMBERS)
