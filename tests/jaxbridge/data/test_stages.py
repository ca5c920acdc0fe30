"""Stages give the same samples however they are asked, and the same as SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as dsp

from jaxbridge.data import preprocess
from jaxbridge.data.stages import Interpolated, Samples, ZeroPhase, whole

TAPS = dsp.firwin(151, [0.05, 47], pass_zero=False, fs=500)


def noise(rows, samples, seed=0):
    return 30 + np.random.default_rng(seed).normal(size=(rows, samples)).cumsum(axis=1)


@settings(max_examples=40)
@given(st.integers(152, 20_000), st.integers(2, 9_000), st.data())
def test_any_piece_is_that_of_the_whole(num_old, num_new, data):
    stage = Interpolated(ZeroPhase(Samples(noise(1, num_old)), TAPS), num_new)
    start = data.draw(st.integers(0, num_new - 1))
    stop = data.draw(st.integers(start + 1, num_new))
    wanted = whole(stage)
    np.testing.assert_allclose(stage.read(start, stop), wanted[:, start:stop], rtol=0, atol=1e-10)


@pytest.mark.parametrize("samples", [454, 4000, 100_001])
def test_the_filter_is_filtfilt(samples):
    signal = noise(3, samples)
    wanted = dsp.filtfilt(TAPS, 1, signal)
    got = preprocess.fir_bandpass(signal, 500, 0.05, 47, 150)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("num_new", [2, 99_999, 140_000])
def test_interpolation_in_pieces_changes_no_bit(num_new):
    signal = noise(2, 100_001)
    stands = np.linspace(0, num_new - 1, signal.shape[1])
    wanted = [np.interp(np.arange(num_new), stands, row) for row in signal]
    np.testing.assert_array_equal(whole(Interpolated(Samples(signal), num_new)), wanted)
