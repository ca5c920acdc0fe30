"""The recursion in blocks against SciPy's, sample by sample."""

import numpy as np
import pytest
from scipy import signal as dsp

from jaxbridge.data.chebyshev import zero_phase


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("low_hz", "high_hz", "rate_hz"), [(0.5, 12, 125), (0.5, 40, 100), (5, 7, 125)]
)
def test_as_scipy_filters(order, low_hz, high_hz, rate_hz):
    padding = 3 * (2 * order + 1)
    sections = dsp.cheby1(order, 0.5, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos")
    # One sample more than the padding, some blocks and an odd rest, many blocks.
    for samples in (padding + 1, 300, 20_011):
        signal = 50 + np.random.default_rng(samples).normal(size=(2, samples)).cumsum(axis=1)
        wanted = dsp.sosfiltfilt(sections, signal, axis=-1, padlen=padding)
        band = (2 * low_hz / rate_hz, 2 * high_hz / rate_hz)
        got = zero_phase(signal, order, 0.5, band, padding)
        assert np.abs(got - wanted).max() < 1e-8 * np.abs(wanted).max()
