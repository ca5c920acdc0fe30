"""Real recordings through `prepare` into a small encoder of each kind."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import scipy.io
from flax import nnx

import model_ports as mp

_SIGNALS = pathlib.Path(__file__).parents[3] / "shared" / "signals"
_WAV2VEC2 = {
    "depth": 1, "features": 16, "num_heads": 2, "mlp_features": 16, "position_groups": 4,
    "position_kernel": 8,
}

pytestmark = pytest.mark.skipif(
    not _SIGNALS.is_dir(), reason="the recordings of ../shared/signals are not here"
)


def _encode(name: str, recording: np.ndarray, options: dict[str, Any], **sizes) -> jax.Array:
    """Prepared signal; its encoding must be finite and differ between windows."""
    encoder = mp.create(name, rngs=nnx.Rngs(0), **sizes)
    prepared = encoder.prepare(recording, **options)
    means = jax.jit(lambda e, x: e(x).mean(axis=1))(encoder, prepared)
    assert np.isfinite(means).all()
    assert np.abs(means[0] - means[1]).max() > 1e-4
    return prepared


def _eegmat() -> tuple[np.ndarray, list[str]]:
    mne = pytest.importorskip("mne")
    raw = mne.io.read_raw_edf(_SIGNALS / "eegmat" / "Subject00_2.edf", verbose="error")
    assert raw.info["sfreq"] == 500
    return raw.get_data(), raw.ch_names


def _wfdb(folder: str, name: str, **options):
    wfdb = pytest.importorskip("wfdb")
    return wfdb.rdrecord(str(_SIGNALS / folder / name), **options)


def _column(name: str) -> np.ndarray:
    return np.loadtxt(_SIGNALS / "biosppy" / name, comments="#")


def test_eeg_and_labram():
    volts, names = _eegmat()
    windows = np.stack([volts[:, :2000], volts[:, 2000:4000]])
    prepared = _encode(
        "labram", windows,
        {"sampling_rate_hz": 500, "leads": names, "unit": "V", "extra_leads": "drop"},
        leads=("F3", "T7", "O1"), depth=1,
    )
    assert prepared.shape == (2, 3, 4, 200)
    assert 0.02 < prepared.std() < 1  # EEG of 2 to 100 microvolts, in units of 100
    rows = [names.index(f"EEG {lead}") for lead in ("F3", "T3", "O1")]
    ends = windows[:, rows][..., [0, -1]] * 1e6 / 100  # which the interpolation keeps
    np.testing.assert_allclose(prepared.reshape(2, 3, -1)[..., [0, -1]], ends, rtol=1e-4)


def test_one_lead_ecg_and_hubert_ecg_and_ecg_dualnet():
    volts, names = _eegmat()
    ecg = volts[[names.index("ECG ECG")]]
    options = {"sampling_rate_hz": 500, "leads": ["ECG ECG"], "unit": "V"}
    windows = np.stack([ecg[:, :5000], ecg[:, 5000:10000]])
    prepared = _encode(
        "hubert_ecg_small", windows, options | {"missing_leads": "none"},
        conv_channels=(8,) * 5, **_WAV2VEC2,
    )
    assert prepared.shape == (2, 1000)
    minute = mp.abstract("ecg_dualnet").prepare(ecg[None, :, :30000], **options)
    assert minute.shape == (1, 1, 18000)
    assert np.abs(minute).max() > 3  # the R waves stand out


def test_twelve_leads_and_ecg_fm_as_its_authors_prepared_them():
    """The authors' own files: raw at 400 Hz, and what their pipeline made of them at 500 Hz."""
    files = sorted((_SIGNALS / "code15" / "org").glob("*.mat"))
    raw = np.stack([scipy.io.loadmat(file)["feats"] for file in files[:2]])
    prepared = _encode(
        "ecg_fm", raw,
        {"sampling_rate_hz": 400, "leads": "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split(),
         "unit": "mV"},
        conv_channels=(8,) * 4, **_WAV2VEC2,
    )
    want = np.stack(
        [scipy.io.loadmat(_SIGNALS / "code15" / "preprocessed" / f.name)["feats"] for f in files[:2]]
    )
    error = np.abs(prepared - want).max() / np.abs(want).max()
    print(f"ecg_fm, CODE-15%: {error:.1e} from the authors' preprocessed files")
    assert error < 2e-6


def test_ppg_and_papagei():
    record = _wfdb("challenge2015_a103l", "a103l")
    ppg = record.p_signal[: 40 * 250, record.sig_name.index("PLETH")].reshape(2, 1, -1)
    prepared = _encode(
        "papagei", ppg, {"sampling_rate_hz": record.fs, "leads": ["PLETH"], "unit": "a.u."}, depth=4
    )
    assert prepared.shape == (2, 1, 2500)
    spectrum = np.abs(np.fft.rfft(prepared[0, 0])) ** 2
    assert spectrum[20 * 14 :].sum() < 1e-3 * spectrum.sum()  # 14 Hz and more


def test_emg_and_normwear():
    emg = _column("emg.txt")[: 2 * 3000].reshape(2, 1, 3000)
    prepared = _encode(
        "normwear", emg, {"sampling_rate_hz": 1000, "leads": ["EMG"], "unit": "counts"},
        depth=1, features=24, num_heads=3, mlp_features=24,
    )
    assert prepared.shape == (2, 1, 390)


def test_odd_rate_and_a_gap():
    """ECG at 249.89 Hz of which the first 4 s are missing."""
    record = _wfdb("mimic_mixedsignals", "mixedsignals", smooth_frames=False)
    ecg = np.stack(record.e_p_signal[:2])[None]
    rate = record.fs * record.samps_per_frame[0]
    encoder = mp.abstract("hubert_ecg_small", depth=1)
    options = {"sampling_rate_hz": rate, "leads": ("II", "III"), "unit": "mV",
               "missing_leads": "none"}
    with pytest.raises(mp.InputError, match=r"lead 'II'.*samples 0 to 1023 \(0\.000 to 4\.098 s\)"):
        encoder.prepare(ecg[..., :8000], **options)
    assert encoder.prepare(ecg[..., 1024:8000], **options).shape == (1, 2 * 2791)
    with pytest.raises(mp.InputError, match="'V' is no lead of the twelve"):
        encoder.prepare(ecg[..., 1024:8000], **options | {"leads": ("II", "V")})
