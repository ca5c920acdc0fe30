"""The encoders' own `prepare` gives what the pipeline's recipes give, window by window."""

import numpy as np
import pytest

import model_ports as mp
from jaxbridge.data.recipes import layout, prepare, recipe
from jaxbridge.data.recording import Recording

_LEADS = ("F3", "C3")


def _signal(rate: float, seconds: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, int(np.ceil(seconds * rate))))
    return 50 + 20 * x + np.cumsum(x, axis=-1)


@pytest.mark.parametrize("resampling", ["linear", "polyphase"])
@pytest.mark.parametrize("rate", [256.0, 500.0, 700.0])
def test_labram(rate, resampling):
    x = _signal(rate, 4)
    chosen = recipe("labram", resampling=resampling)
    recording = Recording(x * 1e-3, rate, _LEADS, "mV", "night1", "s1")
    want = layout(prepare(recording, chosen)[None], chosen)
    got = mp.abstract("labram", leads=_LEADS, depth=1).prepare(
        x * 1e-6, sampling_rate_hz=rate, leads=_LEADS, unit="V", resampling=resampling
    )
    assert got.shape == want.shape == (1, 2, 4, 200)
    np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("resampling", ["linear", "polyphase"])
@pytest.mark.parametrize("rate", [200.0, 256.0, 1000.0])
def test_hubert_ecg(rate, resampling):
    x = _signal(rate, 5)
    chosen = recipe("hubert_ecg_small", resampling=resampling)
    recording = Recording(x, rate, ("I", "II"), "mV", "night1", "s1")
    want = layout(prepare(recording, chosen)[None], chosen)
    got = mp.abstract("hubert_ecg_small", depth=1).prepare(
        x[None], sampling_rate_hz=rate, leads=("I", "II"), unit="mV", missing_leads="none",
        resampling=resampling,
    )
    np.testing.assert_allclose(got, want, atol=5e-6 * np.abs(want).max())
