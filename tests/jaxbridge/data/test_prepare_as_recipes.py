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


@pytest.mark.parametrize("rate", [64.0, 125.0, 700.0])
def test_papagei(rate):
    x = _signal(rate, 6)[:1]
    chosen = recipe("papagei")
    want = layout(prepare(Recording(x, rate, ("BVP",), "a.u.", "night1", "s1"), chosen)[None], chosen)
    got = mp.abstract("papagei").prepare(x, sampling_rate_hz=rate, leads=("BVP",), unit="a.u.")
    assert got.shape == want.shape == (1, 1, 750)
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize(("encoder", "rate", "resampling"), [
    ("normwear", 500.0, "linear"), ("normwear", 256.0, "polyphase"), ("ecg_fm", 400.0, "linear"),
    ("ecg_dualnet", 256.0, "linear"),
])
def test_channels_are_resampled_and_z_scored(encoder, rate, resampling):
    leads, seconds = {"ecg_dualnet": (("II",), 60), "ecg_fm": (("I", "II"), 6)}.get(
        encoder, (("I", "II"), 6))
    x = _signal(rate, seconds)[: len(leads)]
    chosen = recipe(encoder, resampling=resampling)
    want = layout(prepare(Recording(x, rate, leads, "mV", "night1", "s1"), chosen)[None], chosen)
    overrides = {"leads": leads} if encoder == "ecg_fm" else {}
    got = mp.abstract(encoder, **overrides).prepare(
        x, sampling_rate_hz=rate, leads=leads, unit="mV", resampling=resampling
    )
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
