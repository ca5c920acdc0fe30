"""Pickles of Python 2 with arrays in them; nothing else is run."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxbridge.data.published.array_pickle import read_array_pickle
from jaxbridge.data.published.python2_pickle import write_python2_pickle
from model_ports.errors import InputError

# Written by Python 2.7.18 with NumPy 1.16.6.
PYTHON_2 = sorted(Path(__file__).parent.glob("python2_protocol*.pkl"))
CONTENT = {
    "signal": {
        "chest": {
            "ECG": np.arange(7.0)[:, None] / 3, "Temp": np.arange(7, dtype=np.float32)[:, None],
        },
        "wrist": {"BVP": -1e3 * np.arange(3.0)[:, None]},
    },
    "label": np.array([0, 1, 1, 2, 2, 3, 200], np.int32),
    "subject": "S2",
}


def _assert_equal(got, wanted):
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert set(got) == set(wanted)
        for key in wanted:
            _assert_equal(got[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    else:
        assert got == wanted


def test_both_protocols_of_python_2_are_there():
    assert len(PYTHON_2) == 2


@pytest.mark.parametrize("path", PYTHON_2, ids=lambda path: path.stem)
def test_a_pickle_of_python_2_is_read(path):
    _assert_equal(read_array_pickle(path), CONTENT)


def test_the_writer_writes_what_python_2_does(tmp_path):
    path = tmp_path / "written.pkl"
    with path.open("wb") as file:
        write_python2_pickle(CONTENT, file)
    _assert_equal(read_array_pickle(path), CONTENT)
    _assert_equal(pickle.loads(path.read_bytes(), encoding="latin1"), CONTENT)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL))
def test_a_pickle_of_python_3_is_read(tmp_path, protocol):
    path = tmp_path / "three.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    _assert_equal(read_array_pickle(path), CONTENT)


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "argument"), [(os.mkdir, "made"), (eval, "1"), (np.load, "made"), (getattr, "made")]
)
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(
    tmp_path, monkeypatch, protocol, function, argument
):
    monkeypatch.chdir(tmp_path)
    content = CONTENT | {"more": _Runs(function, argument)}
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(InputError, match=r"evil\.pkl asks for \S+\.\w+ while being read.*run code"):
        read_array_pickle(path)
    assert not (tmp_path / "made").exists()


def test_damaged_missing_and_other_files_are_refused(tmp_path):
    written = io.BytesIO()
    write_python2_pickle(CONTENT, written)
    path = tmp_path / "S2.pkl"
    no_arguments = b"\x80\x02cnumpy\ndtype\n)R."
    for content in (written.getvalue()[:200], b"", b"nothing of the kind", no_arguments):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"S2\.pkl is damaged or no pickle"):
            read_array_pickle(path)
    with pytest.raises(InputError, match="none.pkl cannot be read"):
        read_array_pickle(tmp_path / "none.pkl")
