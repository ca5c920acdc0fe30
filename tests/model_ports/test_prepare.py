"""`prepare` of every signal encoder against float64 NumPy and SciPy, and what it refuses."""

import functools

import jax
import numpy as np
import pytest
import scipy.signal

import model_ports as mp
from model_ports import ecg_band, ecg_leads
from model_ports.resampling import resample

_RATES = (256.0, 700.0, 249.89)
_TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_ONE_LEAD = ("hubert_ecg_small", "ecg_dualnet", "papagei", "normwear")


@functools.lru_cache
def _encoder(name: str, **overrides) -> mp.Encoder:
    """`prepare` needs no weights."""
    if name == "ecg_dualnet":
        overrides |= {"num_windows": 10, "time_span": 18, "signal_depth": 1}  # 8 s, not 60
    elif name != "papagei":
        overrides |= {"depth": 1}
    return mp.abstract(name, **overrides)


def _signal(batch: int, leads: int, samples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, leads, samples))
    return 200 + 20 * x + 2 * np.cumsum(x, axis=-1)


def _linear(x: np.ndarray, old: float, new: float) -> np.ndarray:
    if old == new:
        return x
    length = int(x.shape[-1] * (new / old))
    stands, read = np.linspace(0, length - 1, x.shape[-1]), np.arange(length)
    return np.stack([[np.interp(read, stands, row) for row in leads] for leads in x])


def _zscore(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def _ecg(x: np.ndarray, old: float, new: float) -> np.ndarray:
    taps = scipy.signal.firwin(151, [0.05, 47], pass_zero=False, fs=500)
    filtered = scipy.signal.filtfilt(taps, [1.0], _linear(x, old, 500.0), axis=-1)
    return _zscore(_linear(filtered, 500.0, new))


def _check(name: str, got: jax.Array, want: np.ndarray) -> None:
    assert isinstance(got, jax.Array)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    error = np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max()
    print(f"{name}: max error {error:.1e}")
    assert error < 5e-6


@pytest.mark.parametrize("rate", _RATES)
def test_labram(rate):
    encoder = _encoder("labram", leads=("F3", "T7", "O1"))
    x = _signal(2, 3, int(np.ceil(4 * rate)))
    want = (_linear(x, rate, 200.0) / 100)[:, [2, 0, 1], :800].reshape(2, 3, 4, 200)
    leads = ("EEG T3", "O1-A2", "f3")
    for unit, factor in (("uV", 1.0), ("mV", 1e-3), ("V", 1e-6)):
        got = encoder.prepare(x * factor, sampling_rate_hz=rate, leads=leads, unit=unit)
        _check(f"labram from {rate:g} Hz, {unit}", got, want)


@pytest.mark.parametrize("rate", _RATES)
def test_hubert_ecg(rate):
    encoder = _encoder("hubert_ecg_small")
    x = _signal(2, 2, int(4 * rate))
    got = encoder.prepare(
        x, sampling_rate_hz=rate, leads=("V1", "II"), unit="uV", missing_leads="none"
    )
    _check(f"hubert_ecg from {rate:g} Hz", got, _ecg(x, rate, 100.0)[:, ::-1].reshape(2, -1))


@pytest.mark.parametrize("rate", _RATES)
def test_ecg_dualnet(rate):
    x = _signal(2, 1, int(7.9 * rate))
    got = _encoder("ecg_dualnet").prepare(x, sampling_rate_hz=rate, leads=("ECG",), unit="counts")
    _check(f"ecg_dualnet from {rate:g} Hz", got, _ecg(x, rate, 300.0))


@pytest.mark.parametrize("rate", _RATES)
def test_ecg_fm(rate):
    order = np.random.default_rng(1).permutation(12)
    x = _signal(2, 12, int(2 * rate))
    got = _encoder("ecg_fm").prepare(
        x, sampling_rate_hz=rate, leads=[_TWELVE[i].lower() for i in order], unit="mV"
    )
    want = _zscore(_linear(x, rate, 500.0))[:, np.argsort(order)]
    _check(f"ecg_fm from {rate:g} Hz", got, want)


@pytest.mark.parametrize("rate", [64.0, *_RATES])
def test_papagei(rate):
    x = _signal(2, 1, int(20 * rate))
    resampled = scipy.signal.resample(x, int(x.shape[-1] * 125 / rate), axis=-1)
    sections = scipy.signal.cheby1(4, 0.5, [0.5, 12], "bandpass", fs=125, output="sos")
    got = _encoder("papagei").prepare(x, sampling_rate_hz=rate, leads=("BVP",), unit="a.u.")
    want = _zscore(scipy.signal.sosfiltfilt(sections, resampled, axis=-1))
    _check(f"papagei from {rate:g} Hz", got, want)


@pytest.mark.parametrize("rate", _RATES)
def test_normwear(rate):
    x = _signal(2, 3, int(3 * rate))
    got = _encoder("normwear").prepare(x, sampling_rate_hz=rate, leads=("a", "b", "c"), unit="mV")
    _check(f"normwear from {rate:g} Hz", got, _zscore(_linear(x, rate, 130.0)))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, "jax"])
def test_any_array_of_numbers_and_a_single_recording(dtype):
    encoder = _encoder("normwear")
    x = np.round(_signal(1, 2, 300))
    options = {"sampling_rate_hz": 256, "leads": ["a", "b"], "unit": "counts"}
    want = encoder.prepare(x, **options)
    other = jax.numpy.asarray(x) if dtype == "jax" else x.astype(dtype)
    np.testing.assert_allclose(encoder.prepare(other, **options), want, atol=1e-5)
    np.testing.assert_array_equal(encoder.prepare(x[0], **options), want)


def test_polyphase_is_an_option_that_keeps_time():
    at = np.arange(1000) / 500
    x = np.sin(2 * np.pi * 10 * at) + np.sin(2 * np.pi * 180 * at)  # 180 Hz folds to 20 Hz
    encoder = _encoder("labram", leads=("F3",))
    options = {"sampling_rate_hz": 500, "leads": ("F3",), "unit": "uV"}
    slow = np.sin(2 * np.pi * 10 * np.arange(400) / 200).reshape(1, 1, 2, 200) / 100
    folded, kept = (
        np.abs(encoder.prepare(x[None, None], **options, resampling=method) - slow)[..., 20:180]
        for method in ("linear", "polyphase")
    )
    assert folded.max() > 5e-3
    assert kept.max() < 1e-4
    for name in ("hubert_ecg_small", "ecg_fm"):
        clean = _encoder(name).prepare(
            x[None, None], sampling_rate_hz=500, leads=("ECG",), unit="mV",
            missing_leads="repeat", resampling="polyphase",
        )
        assert np.isfinite(clean).all()


@pytest.mark.parametrize("name", ["hubert_ecg_small", "ecg_fm"])
def test_missing_leads_are_left_out_zeroed_or_repeated(name):
    encoder, x = _encoder(name), _signal(2, 2, 600)

    def prepare(missing: str) -> np.ndarray:
        got = encoder.prepare(
            x, sampling_rate_hz=200, leads=("V2", "lead_II"), unit="mV", missing_leads=missing
        )
        return np.asarray(got).reshape(2, 12 if missing != "none" else 2, -1)

    zero, repeat = prepare("zero"), prepare("repeat")
    second, v2 = zero[:, 1], zero[:, 7]
    assert not np.delete(zero, [1, 7], axis=1).any()
    for place in range(12):  # II and V2 stay; the other ten take II, V2, II, ... in turn
        turn = [i for i in range(12) if i not in (1, 7)]
        is_second = place == 1 or (place != 7 and turn.index(place) % 2 == 0)
        np.testing.assert_array_equal(repeat[:, place], second if is_second else v2)
    if name == "ecg_fm":
        with pytest.raises(mp.InputError, match="missing_leads is 'none'.*'zero'.*'repeat'"):
            prepare("none")
    else:
        np.testing.assert_array_equal(prepare("none"), zero[:, [1, 7]])


def test_ecg_fm_of_fewer_leads_takes_just_these():
    x = _signal(1, 2, 400)
    got = _encoder("ecg_fm", leads=("II", "V1")).prepare(
        x, sampling_rate_hz=500, leads=("V1", "II"), unit="mV"
    )
    _check("ecg_fm of two leads", got, _zscore(x)[:, ::-1])


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (("ECG II", "EKG-V1", "Lead avL", "lead_i"), ("II", "V1", "aVL", "I")),
        (("ECG ECG",), ("ECG",)),
        (("ekg",), ("ECG",)),
        (("v6.",), ("V6",)),
    ],
)
def test_spellings_of_ecg_leads(given, want):
    assert ecg_leads.standard_names(given, "m") == want


@pytest.mark.parametrize("names", [("ECG", "II"), ("vx",), ("MLII",), ("V7",), ("-aVR",), ("Pleth",)])
def test_names_of_no_standard_lead_are_refused(names):
    with pytest.raises(mp.InputError, match="is no lead of the twelve"):
        ecg_leads.standard_names(names, "m")


def _refused(match: str, name: str, x: np.ndarray, **changes) -> None:
    """A recording at 250 Hz that the encoder takes, but for `changes`."""
    leads = {"labram": ("F3", "O1"), "ecg_fm": _TWELVE}.get(name, ("II",))
    overrides = {"leads": leads} if name == "labram" else {}
    options = {"sampling_rate_hz": 250.0, "leads": leads, "unit": "mV"}
    if name == "hubert_ecg_small":
        options["missing_leads"] = "none"
    encoder = _encoder(name, **overrides)
    with pytest.raises(mp.InputError, match=match):
        encoder.prepare(x, **(options | changes))


@pytest.mark.parametrize("name", ["labram", "ecg_fm", *_ONE_LEAD])
def test_every_encoder_refuses_a_bad_description(name):
    count = {"labram": 2, "ecg_fm": 12}.get(name, 1)
    good = _signal(2, count, 2000)
    encoder = _encoder(name, **({"leads": ("F3", "O1")} if name == "labram" else {}))
    with pytest.raises(mp.InputError, match="sampling_rate_hz is None; state"):
        encoder.prepare(good)
    for rate in (0, -1, np.nan, np.inf, "250", 0.0):
        _refused("sampling_rate_hz is .*positive number", name, good, sampling_rate_hz=rate)
    _refused("sampling_rate_hz=20 is too low.*at least", name, good, sampling_rate_hz=20)
    for unit in (None, "", "uv", "MV", "mmHg", 1.0):
        _refused("unit is .*'V', 'mV', 'uV'", name, good, unit=unit)
    for leads in (None, (), "II", (1,), ("",), {"II", "V1"}, iter(["II"])):
        _refused("leads is|is no name", name, good, leads=leads)
    _refused(f"{count} leads in a recording.*but {count + 1}", name, good,
             leads=[f"V{i + 1}" for i in range(count + 1)])
    _refused("has shape", name, good[0, 0])
    _refused("has shape", name, good[None])
    _refused("no samples", name, good[:0])
    _refused("no samples", name, good[..., :0])
    _refused("real numbers", name, good.astype(complex))
    _refused("real numbers", name, np.full(good.shape, "a"))


@pytest.mark.parametrize("name", ["labram", "ecg_fm", *_ONE_LEAD])
def test_every_encoder_refuses_bad_samples(name):
    count = {"labram": 2, "ecg_fm": 12}.get(name, 1)
    lead = {"labram": "O1", "ecg_fm": "V6"}.get(name, "II")
    x = _signal(2, count, 2000)
    x[1, -1, 500:510], x[1, -1, 900] = np.nan, np.inf
    _refused(f"lead '{lead}' of recording 1 has 11 NaN or infinite of 2000 samples, the first at "
             r"samples 500 to 509 \(2\.000 to 2\.040 s\)\. Cut", name, x)
    x[1, -1] = 0.1 * 3
    _refused(f"lead '{lead}' of recording 1 is constant at 0.3", name, x)
    jax.jit(lambda x: _refused("call it outside jit", name, x))(x)


@pytest.mark.parametrize(
    ("name", "samples", "match"),
    [
        ("labram", 249, "249 samples at 250 Hz make 199 at 200 Hz, 199 more than 0 s"),
        ("labram", 625, r"make 500 at 200 Hz, 100 more than 2 s.*remainder='drop'"),
        ("ecg_fm", 7, "needs at least 16 samples"),
        ("hubert_ecg_small", 226, r"452 samples at 500 Hz.*more than 0\.906 s"),
        ("ecg_dualnet", 226, "too short for the band-pass"),
        ("ecg_dualnet", 1800, "fit 2272 to 2399 samples"),
        ("papagei", 54, r"27 samples at 125 Hz.*more than 0\.216 s"),
        ("normwear", 20, "needs at least 11 samples"),
    ],
)
def test_short_recordings_are_refused(name, samples, match):
    count = {"labram": 2, "ecg_fm": 12}.get(name, 1)
    _refused(match, name, np.random.default_rng(0).normal(size=(1, count, samples)))


def test_leads_that_do_not_fit_the_model_are_refused():
    x = _signal(1, 2, 2000)
    _refused("leads' is unknown", "labram", x, resampling="linear", extra_leads="leads")
    _refused("lead O1 of config.leads is not among the recording's", "labram", x,
             leads=("F3", "Oz"))
    _refused("ambiguous", "labram", x[:, [0, 0, 1]] + 0, leads=("F3-A2", "F3-REF", "O1"))
    _refused("lead Cz is not in config.leads", "labram", x[:, [0, 1, 1]], leads=("O1", "F3", "Cz"))
    _refused("needs|reads voltages", "labram", x, unit="a.u.")
    _refused("named twice", "normwear", x, leads=("Chest", "chest"))
    _refused("given twice", "hubert_ecg_small", x, leads=("II", "ECG II"))
    _refused("missing_leads is None.*'none'.*'zero'.*'repeat'", "hubert_ecg_small", x,
             leads=("I", "II"), missing_leads=None)
    _refused("missing_leads is 'pad'", "hubert_ecg_small", x, leads=("I", "II"),
             missing_leads="pad")
    _refused("its name must be known", "hubert_ecg_small", x[:, :1], leads=("ECG",),
             missing_leads="zero")
    _refused("'vx' is no lead", "ecg_fm", x, leads=("I", "vx"), missing_leads="zero")
    _refused("takes one lead", "ecg_dualnet", x, leads=("I", "II"))
    _refused("takes 1 channel", "papagei", x, leads=("red", "infrared"))
    _refused("resampling='cubic'|'cubic' is unknown", "normwear", x, leads=("a", "b"),
             resampling="cubic")


def test_labram_drops_leads_and_samples_only_when_told():
    x = _signal(1, 3, 500)
    x[0, 1] = np.nan
    encoder = _encoder("labram", leads=("F3", "O1"))
    got = encoder.prepare(
        x, sampling_rate_hz=200, leads=("O1", "Cz", "F3"), unit="uV", extra_leads="drop",
        remainder="drop",
    )
    want = (x[:, [2, 0], :400] / 100).reshape(1, 2, 2, 200)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_labram_without_positions_takes_any_leads_in_their_order():
    x = _signal(1, 2, 400)
    got = _encoder("labram").prepare(x, sampling_rate_hz=200, leads=("ear", "nose"), unit="uV")
    np.testing.assert_allclose(got, (x / 100).reshape(1, 2, 2, 200), rtol=1e-6)


def test_compiled_once_per_shape_rate_and_option():
    encoder = _encoder("hubert_ecg_small")
    options = {"sampling_rate_hz": 333.0, "unit": "mV", "missing_leads": "zero"}
    x = _signal(2, 2, 700)
    before = ecg_band.band_passed._cache_size()
    for scale, leads in ((1, ("I", "II")), (3, ("V4", "aVR")), (0.1, ("II", "I"))):
        encoder.prepare(scale * x, leads=leads, **options)
    assert ecg_band.band_passed._cache_size() == before + 1
    encoder.prepare(x[..., 1:], leads=("I", "II"), **options)
    assert ecg_band.band_passed._cache_size() == before + 2
    labram = _encoder("labram")
    before = resample._cache_size()
    for scale in (1, 2):
        labram.prepare(scale * x[..., :666], sampling_rate_hz=333.0, leads=("a", "b"), unit="uV")
    assert resample._cache_size() == before + 1
