import numpy as np
import pytest

from jaxbridge.data.lazy_windows import CutWindows

SIGNAL = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
STARTS = np.array([0, 7, 7, 40])
LAZY = CutWindows(SIGNAL, STARTS, (2, 10))
WHOLE = np.stack([SIGNAL[:, start : start + 10] for start in STARTS])


@pytest.mark.parametrize(
    "key", [2, -1, slice(1, 3), slice(None, None, -2), slice(4, 9), np.array([3, 0, 0]), (slice(2), 1),
            (1, 0, slice(3)), np.array([True, False, False, True])],
    ids=str,
)
def test_they_behave_like_their_array(key):
    np.testing.assert_array_equal(LAZY[key], WHOLE[key])


def test_the_whole_of_them():
    np.testing.assert_array_equal(np.asarray(LAZY), WHOLE)
    np.testing.assert_array_equal(list(LAZY), list(WHOLE))
    np.testing.assert_array_equal(LAZY.reshape(4, -1), WHOLE.reshape(4, -1))
    assert (len(LAZY), LAZY.shape, LAZY.dtype) == (4, WHOLE.shape, WHOLE.dtype)
    np.testing.assert_array_equal(LAZY.shaped(2, 5, 2)[:], WHOLE.reshape(4, 2, 5, 2))


def test_none_of_them():
    none = CutWindows(SIGNAL, STARTS[:0], (20,))
    assert none[:].shape == (0, 20)
