import numpy as np
import pytest

from jaxbridge.data.memory import ArrayWindows
from model_ports.errors import InputError

_SPLITS = np.array(["train", "test", "train"])


def _windows(**changes) -> ArrayWindows:
    arguments = {
        "arrays": {"eeg": np.arange(6.0).reshape(3, 2), "ecg": np.ones((3, 4, 5))},
        "labels": np.array([0, 1, 1]), "splits": _SPLITS, "class_names": ("a", "b"), **changes,
    }
    return ArrayWindows(**arguments)


def test_reads_like_a_store():
    windows = _windows()
    assert windows.modalities == ("eeg", "ecg")
    assert windows.shape("ecg") == (4, 5)
    np.testing.assert_array_equal(windows.indices("train"), [0, 2])
    np.testing.assert_array_equal(windows.read("eeg", np.array([2, 0])), [[4, 5], [0, 1]])


def test_the_hash_tells_any_change():
    same, other = _windows(), _windows()
    assert same.hash == other.hash
    changed = [
        _windows(labels=np.array([0, 1, 0])),
        _windows(splits=np.array(["train", "val", "train"])),
        _windows(arrays={"eeg": np.arange(6.0).reshape(3, 2) + 1e-3, "ecg": np.ones((3, 4, 5))}),
        _windows(subjects=["S1", "S2", "S1"]),
        _windows(subjects=["S1", "S2", "S2"]),
    ]
    assert len({same.hash, *(w.hash for w in changed)}) == 6


@pytest.mark.parametrize(("changes", "message"), [
    ({"labels": np.array([0, 1])}, "must come in pairs.*eeg 3, ecg 3, labels 2"),
    ({"subjects": ["S1"]}, "must come in pairs.*splits 3, subjects 1"),
    ({"arrays": {"eeg": np.array([[1.0], [np.nan], [0]])}}, "window 1 of eeg has NaN"),
    ({"splits": np.array(["train", "dev", "train"])}, r"unknown splits \[.*dev"),
    ({"labels": np.array([0, 1, 2])}, "labels must be 0 to 1"),
])
def test_bad_arrays_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        _windows(**changes)
