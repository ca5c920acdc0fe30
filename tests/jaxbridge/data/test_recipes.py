import numpy as np
import pytest

import model_ports as mp
from jaxbridge.data.preprocess import linear_resample, polyphase_resample, zscore
from jaxbridge.data.recipes import RECIPES, layout, prepare, recipe
from jaxbridge.data.recording import Recording
from model_ports.errors import InputError


def _recording(rate=500.0, seconds=4, unit="uV", leads=("F3", "C3")):
    signal = np.random.default_rng(0).normal(size=(len(leads), int(seconds * rate))) * 30
    return Recording(signal, rate, leads, unit, "night1", "s1")


def test_eeg_recipe_is_200_hz_microvolt_by_100():
    recording = _recording()
    got = prepare(recording, recipe("labram"))
    np.testing.assert_allclose(got, polyphase_resample(recording.signal, 500, 200) / 100)
    assert recipe("labram").output_unit == "100 uV"
    linear = prepare(recording, recipe("labram", resampling="linear"))
    np.testing.assert_allclose(linear, linear_resample(recording.signal, 500, 200) / 100)


@pytest.mark.parametrize(("unit", "per_uv"), [("V", 1e-6), ("mV", 1e-3), (("uV", "mV"), None)])
def test_eeg_recipe_brings_every_unit_to_microvolt(unit, per_uv):
    wanted = prepare(_recording(), recipe("labram"))
    recording = _recording(unit=unit)
    factors = np.array([[1.0], [1e-3]]) if per_uv is None else per_uv
    scaled = Recording(recording.signal * factors, 500.0, recording.leads, unit, "n", "s")
    np.testing.assert_allclose(prepare(scaled, recipe("labram")), wanted, rtol=1e-12)


def test_eeg_recipe_refuses_an_unknown_unit_and_ecg_recipe_needs_none():
    counts = _recording(unit="counts")
    with pytest.raises(InputError, match=r"night1: unit 'counts'.*needs uV"):
        prepare(counts, recipe("labram"))
    assert np.isfinite(prepare(counts, recipe("hubert_ecg"))).all()


def test_normalisation_over_recording_or_window():
    recording = _recording()
    whole = prepare(recording, recipe("hubert_ecg"))
    np.testing.assert_allclose(whole.std(-1), 1)
    by_window = recipe("hubert_ecg", normalise="window")
    raw = prepare(recording, by_window)
    np.testing.assert_allclose(zscore(raw), whole)
    windows = np.stack([raw[:, :200], raw[:, 200:]])
    np.testing.assert_allclose(
        layout(windows, by_window), zscore(windows).reshape(2, 400), atol=1e-6
    )
    unchanged = layout(windows, recipe("hubert_ecg"))
    np.testing.assert_allclose(unchanged, windows.reshape(2, 400), atol=1e-6)


def test_layouts():
    windows = np.arange(3 * 2 * 400, dtype=float).reshape(3, 2, 400)
    patches = layout(windows, recipe("labram"))
    assert patches.shape == (3, 2, 2, 200)
    assert patches.dtype == np.float32
    np.testing.assert_array_equal(patches[1, 1, 1], windows[1, 1, 200:])
    flat = layout(windows, recipe("hubert_ecg"))
    np.testing.assert_array_equal(flat[2, 400:], windows[2, 1])
    with pytest.raises(InputError, match=r"1\.5 s.*whole seconds"):
        layout(windows[..., :300], recipe("labram"))


def test_recipe_by_family_or_member_and_unknown_names():
    assert recipe("hubert_ecg_small") is not None
    assert recipe("hubert_ecg_small") == RECIPES["hubert_ecg"]
    with pytest.raises(InputError, match="'labrador'.*labram, hubert_ecg"):
        recipe("labrador")
    with pytest.raises(InputError, match="normalise 'windows'"):
        recipe("labram", normalise="windows")


def test_slow_recording_is_refused_naming_rate_and_leads():
    with pytest.raises(InputError, match=r"night1: sampling rate 64 Hz.*F3, C3.*at least 100"):
        prepare(_recording(rate=64.0), recipe("labram"))


def test_short_recording_is_refused_naming_it():
    with pytest.raises(InputError, match="night1: .*too short"):
        prepare(_recording(seconds=0.5), recipe("hubert_ecg"))


def test_nan_names_recording_lead_samples_and_remedy():
    recording = _recording()
    recording.signal[1, 700:720] = np.nan
    recording.signal[1, 1500] = np.inf
    with pytest.raises(InputError) as raised:
        prepare(recording, recipe("labram"))
    message = str(raised.value)
    for part in ("night1", "'C3'", "21 NaN", "samples 700 to 719", "1.400 to 1.440 s", "Cut"):
        assert part in message


def test_constant_lead_names_recording_lead_and_value():
    recording = _recording()
    recording.signal[0] = -7.5
    with pytest.raises(InputError, match=r"night1: lead 'F3' is constant at -7\.5.*0 to 1999"):
        prepare(recording, recipe("hubert_ecg"))


def test_empty_recording():
    with pytest.raises(InputError, match="night1: no samples"):
        prepare(_recording(seconds=0), recipe("labram"))


def test_picture_shows_a_tone_at_its_frequency():
    """The drawing itself is tested in tests/model_ports/representations."""
    chosen = recipe("tiny_biomoe")
    time = np.arange(2000) / 200
    low, high = (np.sin(2 * np.pi * hz * time) for hz in (10, 80))
    pictures = layout(np.stack([low, high])[:, None], chosen)
    assert pictures.shape == (2, 3, 224, 224) and pictures.dtype == np.float32
    assert 0 <= pictures.min() < pictures.max() <= 1
    # viridis ends in yellow: red is strongest where the power is; 0 Hz is the lowest row
    rows = pictures[:, 0].mean(axis=2).argmax(axis=1)
    assert rows[1] < 90 < 180 < rows[0]
    assert layout(np.empty((0, 1, 2000)), chosen).shape == (0, 3, 224, 224)
    with pytest.raises(InputError, match="samples"):
        layout(low[None, None, :100], chosen)


def test_more_leads_than_the_encoder_takes_are_refused():
    with pytest.raises(InputError, match="night1: 2 leads .F3, C3., this encoder takes 1"):
        prepare(_recording(), recipe("papagei"))


def test_every_encoder_has_a_recipe_at_its_own_rate():
    for name in mp.available():
        rate = mp.abstract(name).config.sampling_rate_hz if name != "tiny_biomoe" else 200
        assert recipe(name).sampling_rate_hz == rate
