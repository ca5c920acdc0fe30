"""Real recordings of every format, against an independent read in value, unit and time."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb

from jaxbridge.data.recipes import layout, prepare, recipe
from jaxbridge.data.recording import Recording
from jaxbridge.data.recordings import Recordings
from model_ports.errors import InputError

SIGNALS = Path(__file__).parents[5] / "shared" / "signals"
DESCRIPTIONS = Path(__file__).parent / "shared"


def described(name, folder=None):
    folder = SIGNALS / (folder or name)
    if not folder.is_dir():
        pytest.skip(f"the recordings of ../shared/signals/{folder.name} are not here")
    found = Recordings.from_yaml(DESCRIPTIONS / f"{name}.yaml", folder)
    return pickle.loads(pickle.dumps(found))


def expected(raw, rate, unit, encoder, starts_s, window_s, **changes):
    """Windows of a whole recording, the slow way: (leads, samples) in `unit`."""
    raw = np.atleast_2d(raw)
    chosen = recipe(encoder, **changes)
    names = tuple(f"lead {i}" for i in range(len(raw)))
    whole = prepare(Recording(raw.astype(float), rate, names, unit, "raw", "s"), chosen)
    hz = chosen.sampling_rate_hz
    cuts = [whole[:, round(s * hz) : round(s * hz) + round(window_s * hz)] for s in starts_s]
    return layout(np.stack(cuts), chosen)


def edf_by_hand(path):
    """label -> physical values, of a file whose signals all have one rate."""
    data = path.read_bytes()
    count, records = int(data[252:256]), int(data[236:244])
    head = data[256 : 256 * (count + 1)].decode("latin-1")

    def column(start, width):
        return [head[start * count + width * i :][:width].strip() for i in range(count)]

    labels, samples = column(0, 16), [int(n) for n in column(216, 8)]
    ranges = np.array([column(at, 8) for at in (104, 112, 120, 128)], object)
    body = np.frombuffer(data, "<i2", records * sum(samples), 256 * (count + 1))
    body = body.reshape(records, -1)
    edges = np.concatenate([[0], np.cumsum(samples)])
    result = {}
    for i, label in enumerate(labels):
        if "Annotations" not in label:
            low, high, first, last = (float(x) for x in ranges[:, i])
            digital = body[:, edges[i] : edges[i + 1]].reshape(-1).astype(float)
            result[label] = (digital - first) * (high - low) / (last - first) + low
    return result


def test_eegmat():
    data = described("eegmat")
    assert len(data.recordings) == 48 and data.recordings["Subject04_1"] == "Subject04"
    raw = edf_by_hand(data.folder / "Subject04_1.edf")
    batch = data.windows("Subject04_1")
    np.testing.assert_array_equal(batch.start_s, np.arange(17) * 10.0)
    assert (batch.subject, set(batch.labels)) == ("Subject04", {0})
    eeg = np.stack([raw[f"EEG {lead}"] for lead in ("F3", "C3", "O1", "F4", "C4", "O2")])
    want = expected(eeg, 500.0, "uV", "labram", batch.start_s, 10)
    np.testing.assert_allclose(batch.arrays["eeg"], want, atol=1e-5)
    # 0.1 mV: the tenth second of F3 in the middle of the band
    assert 0.02 < batch.arrays["eeg"][0, 0].std() < 1
    want = expected(raw["ECG ECG"], 500.0, "uV", "hubert_ecg", batch.start_s, 10)
    np.testing.assert_allclose(batch.arrays["ecg"], want, atol=1e-5)
    assert set(data.windows("Subject04_2").labels) == {1}
    assert data.sources_of("Subject04_2") == ("Subject04_2.edf",)
    assert len(data.metadata["sources"]) == 48


def test_mixed_rates_and_a_missing_stretch_in_one_record(caplog):
    data = described("mimic_mixedsignals")
    with caplog.at_level(logging.INFO, "jaxbridge"):
        batch = data.windows("mixedsignals")
    record = wfdb.rdrecord(str(data.folder / "mixedsignals"), smooth_frames=False)
    ii, pleth, resp = (record.e_p_signal[i] for i in (0, 4, 5))
    gap = np.flatnonzero(np.isnan(ii))
    assert gap.size == 1024
    starts = [10.0 * i for i in range(23)]
    kept = [s for s in starts if (gap + 1).max() / 249.89 <= s or gap.min() / 249.89 >= s + 10]
    np.testing.assert_array_equal(batch.start_s, kept)
    assert 0 < len(kept) < 23
    # filled for the filters by hand; scaled by the samples that are there
    ii = np.interp(np.arange(len(ii)), np.flatnonzero(~np.isnan(ii)), ii[~np.isnan(ii)])
    flat = expected(ii, 249.89, "mV", "hubert_ecg", kept, 10, normalise="none")
    # the mean and scale are of the whole recording but the gap: the same line for all windows
    got, raw = batch.arrays["ecg"].ravel(), flat.ravel()
    slope, offset = np.polyfit(raw, got, 1)
    np.testing.assert_allclose(got, slope * raw + offset, atol=1e-4)
    assert abs(got.mean()) < 0.05 and abs(got.std() - 1) < 0.05
    want = expected(pleth, 124.945, "a.u.", "papagei", kept, 10)
    np.testing.assert_allclose(batch.arrays["ppg"], want, atol=1e-5)
    want = expected(resp, 62.4725, "a.u.", "normwear", kept, 10, resampling="linear")
    np.testing.assert_allclose(batch.arrays["resp"], want, atol=1e-5)
    assert batch.notes["missing_samples"] == {"ecg": {"II": 1024}}
    assert batch.notes["dropped_at_gaps"] == 23 - len(kept)
    assert "1 windows dropped at gaps" in caplog.text and "II: 1024 samples missing" in caplog.text


def test_short_gaps_are_interpolated_and_longer_ones_cost_their_windows():
    data = described("challenge2015_v102s")
    batch = data.windows("v102s")
    record = wfdb.rdrecord(str(data.folder / "v102s"))
    ii, pleth = record.p_signal[:, 0], record.p_signal[:, 2]
    counts, longer = {}, []
    for name, lead in (("II", ii), ("PLETH", pleth)):
        bad = np.flatnonzero(np.isnan(lead))
        runs = np.split(bad, np.flatnonzero(np.diff(bad) > 1) + 1)
        counts[name] = sum(len(run) for run in runs if len(run) <= 5)
        longer += [run for run in runs if len(run) > 5]
    found = batch.notes["interpolated_samples"]
    assert {lead: n for leads in found.values() for lead, n in leads.items()} == {
        name: n for name, n in counts.items() if n
    }
    hit = {int(i // 2500) for run in longer for i in run}
    np.testing.assert_array_equal(batch.start_s, [10.0 * i for i in range(30) if i not in hit])
    good = ~np.isnan(ii)
    filled = np.interp(np.arange(len(ii)), np.flatnonzero(good), ii[good])
    want = expected(filled, 250.0, "mV", "hubert_ecg", batch.start_s, 10)
    np.testing.assert_allclose(batch.arrays["ecg"], want, atol=1e-5)


def test_gaps_are_refused_where_no_rule_is_stated(tmp_path):
    folder = described("challenge2015_v102s").folder
    text = (DESCRIPTIONS / "challenge2015_v102s.yaml").read_text()
    path = tmp_path / "strict.yaml"
    path.write_text(text.replace("gaps:", "# gaps:"))
    with pytest.raises(InputError, match=r"v102s\.hea: lead 'II' has 3 NaN.*samples \d+ to \d+ "
                       r"\(\d+\.\d+ to \d+\.\d+ s\).*longer: drop"):
        Recordings.from_yaml(path, folder).windows("v102s")


def test_ecg_and_ppg_of_one_record():
    data = described("challenge2015_a103l")
    batch = data.windows("a103l")
    raw = scipy.io.loadmat(data.folder / "a103l.mat")["val"].astype(float)
    np.testing.assert_array_equal(batch.start_s, np.arange(65) * 5.0)
    want = expected((raw[0] + 0) / 7247, 250.0, "mV", "hubert_ecg", batch.start_s, 10)
    np.testing.assert_allclose(batch.arrays["ecg"], want, atol=1e-5)
    want = expected(raw[2] / 12530, 250.0, "a.u.", "papagei", batch.start_s, 10)
    np.testing.assert_allclose(batch.arrays["ppg"], want, atol=1e-5)
    assert data.sources_of("a103l") == ("a103l.hea", "a103l.mat")


def test_code15_equals_the_authors_own_preprocessing():
    data = described("code15")
    assert list(data.recordings) == ["1238362", "358121", "438277", "795649"]
    for exam in data.recordings:
        batch = data.windows(exam)
        np.testing.assert_array_equal(batch.start_s, [0.0, 1.0, 2.0])
        path = data.folder / "preprocessed" / f"code_15_{exam}.mat"
        whole = scipy.io.loadmat(path)["feats"]
        for start, window in zip((0, 500, 1000), batch.arrays["ecg"], strict=True):
            np.testing.assert_allclose(window, whole[:, start : start + 2500], atol=2e-5)


def test_twelve_leads_in_their_places():
    data = described("ptb_s0010_re")
    batch = data.windows("s0010")
    raw = wfdb.rdrecord(str(data.folder / "s0010_re")).p_signal.T
    np.testing.assert_array_equal(batch.start_s, [0, 6, 12, 18, 24])

    def want(rows, encoder):
        return expected(raw[rows], 1000.0, "mV", encoder, batch.start_s, 12)

    np.testing.assert_allclose(batch.arrays["twelve"], want(range(12), "ecg_fm"), atol=1e-5)
    limb = batch.arrays["limb"].reshape(5, 3, 1200)  # named iii, i, ii: put in order
    np.testing.assert_allclose(limb, want([0, 1, 2], "hubert_ecg").reshape(5, 3, 1200), atol=1e-5)
    single = batch.arrays["single"].reshape(5, 12, 1200)
    np.testing.assert_allclose(single[:, 1], want([1], "hubert_ecg"), atol=1e-5)
    assert not np.delete(single, 1, axis=1).any()
    np.testing.assert_allclose(batch.arrays["dualnet"], want([10], "ecg_dualnet"), atol=1e-5)
    leads = {name: m["leads"] for name, m in data.metadata["modalities"].items()}
    assert leads["limb"] == ["I", "II", "III"] and len(leads["single"]) == 12


def test_negative_gains_and_stages_of_a_wfdb_annotator(caplog):
    data = described("slpdb_slp41_60s")
    with caplog.at_level(logging.INFO, "jaxbridge"):
        batch = data.windows("slp41")
    raw = scipy.io.loadmat(data.folder / "slp41m.mat")["val"].astype(float)
    want = expected(raw[2] / -25680 * 1000, 250.0, "uV", "labram", [0, 30], 30)
    np.testing.assert_allclose(batch.arrays["eeg"], want, atol=1e-6)
    want = expected(raw[0] / -500, 250.0, "mV", "hubert_ecg", [0, 30], 30)
    np.testing.assert_allclose(batch.arrays["ecg"], want, atol=1e-5)
    assert batch.labels.tolist() == [0, 0]
    assert batch.notes["inverted_gains"] == ["ECG", "EEG (C4-A1)"]
    assert "negative gain, applied: ECG, EEG (C4-A1)" in caplog.text
    assert "slp41.st" in data.sources_of("slp41")


def test_sleep_stages_of_a_hypnogram():
    data = described("sleepedf_short_psg")
    batch = data.windows("short")
    path = data.folder / "short_psg.edf"
    body = np.frombuffer(path.read_bytes(), "<i2", offset=256 * 8).reshape(10, -1).astype(float)
    fpz = body[:, :3000].reshape(-1)
    fpz = (fpz + 2048) * 384 / 4095 - 192
    np.testing.assert_array_equal(batch.start_s, np.arange(10) * 30.0)
    assert batch.labels.tolist() == [0] * 10
    want = expected(fpz, 100.0, "uV", "labram", batch.start_s, 30)
    np.testing.assert_allclose(batch.arrays["eeg"][:, :1], want, atol=2e-5)
    assert batch.arrays["eog"].shape == (10, 1, 3900)
    assert set(data.sources_of("short")) == {"short_psg.edf", "SC4001EC-Hypnogram.edf"}


def test_a_lead_of_1_hz_suits_no_encoder(tmp_path):
    folder = described("sleepedf_short_psg").folder
    path = tmp_path / "emg.yaml"
    text = (DESCRIPTIONS / "sleepedf_short_psg.yaml").read_text()
    path.write_text(text.replace("EOG horizontal", "EMG submental"))
    message = r"short_psg\.edf: sampling rate 1 Hz is too low.*EMG submental"
    with pytest.raises(InputError, match=message):
        Recordings.from_yaml(path, folder).windows("short")


def test_class_from_a_column():
    data = described("neurokit")
    batch = data.windows("bio_eventrelated")
    columns = np.loadtxt(data.folder / "bio_eventrelated_100hz.csv", delimiter=",", skiprows=1)
    kept, labels = [], []
    for start in range(149):
        values = set(columns[100 * start : 100 * start + 200, 2])
        if values in ({5.0}, {0.0}):
            kept.append(start)
            labels.append(int(values == {0.0}))
    np.testing.assert_array_equal(batch.start_s, kept)
    assert batch.labels.tolist() == labels and set(labels) == {0, 1}
    assert batch.notes["dropped_without_class"] == 149 - len(kept)
    want = expected(columns[:, 0], 100.0, "a.u.", "hubert_ecg", kept, 2)
    np.testing.assert_allclose(batch.arrays["ecg"], want, atol=1e-5)
    want = expected(columns[:, 1], 100.0, "a.u.", "normwear", kept, 2)
    np.testing.assert_allclose(batch.arrays["eda"], want, atol=1e-5)


def test_eyes_open_and_closed_by_file_name():
    data = described("biosppy_eeg", "biosppy")
    assert dict(data.recordings) == {"ec": "eeg", "eo": "eeg"}
    for name, label in (("ec", 0), ("eo", 1)):
        batch = data.windows(name)
        raw = np.loadtxt(data.folder / f"eeg_{name}.txt")
        assert set(batch.labels) == {label} and len(batch.labels) == len(raw) // 500
        want = expected(raw, 125.0, "counts", "normwear", batch.start_s, 4)
        np.testing.assert_allclose(batch.arrays["eeg"], want, atol=1e-5)


@pytest.mark.parametrize(("sensor", "encoder", "seconds"), [
    ("emg", "normwear", 100), ("emg_1", "tiny_biomoe", 63), ("ecg", "ecg_dualnet", 15),
    ("ppg", "papagei", 20),
])
def test_single_sensors(tmp_path, sensor, encoder, seconds):
    folder = described("biosppy_sensors", "biosppy").folder
    text = (DESCRIPTIONS / "biosppy_sensors.yaml").read_text()
    path = tmp_path / "one.yaml"
    path.write_text(text.replace("tiny_biomoe", encoder).replace('["*"]', f"[{sensor[:3].upper()}]"))
    batch = Recordings.from_yaml(path, folder).windows(sensor)
    raw = np.loadtxt(folder / f"{sensor}.txt")
    assert len(raw) // 1000 == seconds
    starts = np.arange(0, len(raw) / 1000 - 5 + 1e-9, 2.5)
    np.testing.assert_array_equal(batch.start_s, starts)
    want = expected(raw, 1000.0, "counts", encoder, starts, 5)
    np.testing.assert_allclose(batch.arrays["signal"], want, atol=1e-5)
