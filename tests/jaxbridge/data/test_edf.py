import numpy as np
import pytest

from jaxbridge.data.edf import read_edf, read_header
from jaxbridge.data.recording import Recording
from model_ports.errors import InputError
from tests.jaxbridge.data.edf_writer import write_edf

RATE = 100.0


def _signals(seconds=4):
    rng = np.random.default_rng(0)
    names = ("EEG F3", "EEG T3", "ECG ECG")
    return {name: rng.uniform(-900, 900, int(seconds * RATE)) for name in names}


@pytest.mark.parametrize(("suffix", "step"), [(".edf", 1000 / 32767), (".bdf", 1000 / 8388607)])
def test_samples_come_back_in_order_and_unit(tmp_path, suffix, step):
    path = tmp_path / f"night{suffix}"
    signals = _signals()
    write_edf(path, signals, sampling_rate_hz=RATE)
    got = read_edf(path, ["ecg", "T7"], subject="s1")
    wanted = np.stack([signals["ECG ECG"], signals["EEG T3"]])
    np.testing.assert_allclose(got.signal, wanted, atol=0.51 * step, rtol=0)
    assert got.leads == ("ecg", "T7")
    assert got.unit == ("uV", "uV")
    assert (got.sampling_rate_hz, got.name, got.subject) == (RATE, path.name, "s1")
    assert got.duration_s == 4.0


def test_unit_is_converted_from_the_one_in_the_file(tmp_path):
    signals = _signals()
    path = tmp_path / "mixed.edf"
    write_edf(path, signals, sampling_rate_hz=RATE, unit={"ECG ECG": "mV", "EEG F3": "uV"} | {
        "EEG T3": "V"})
    one = read_edf(path, unit="mV").signal
    step = 0.51 * 1000 / 32767
    np.testing.assert_allclose(one[0], signals["EEG F3"] * 1e-3, atol=step * 1e-3, rtol=0)
    np.testing.assert_allclose(one[1], signals["EEG T3"] * 1e3, atol=step * 1e3, rtol=0)
    np.testing.assert_allclose(one[2], signals["ECG ECG"], atol=step, rtol=0)
    with pytest.raises(InputError, match="'pV'.*uV, mV, V"):
        read_edf(path, unit="pV")


def test_all_leads_keep_the_files_names(tmp_path):
    path = tmp_path / "all.edf"
    write_edf(path, _signals(), sampling_rate_hz=RATE)
    assert read_edf(path).leads == ("EEG F3", "EEG T3", "ECG ECG")


def test_annotation_signals_are_no_leads(tmp_path):
    path = tmp_path / "plus.edf"
    signals = _signals()
    signals["EDF Annotations"] = np.zeros_like(signals["EEG F3"])
    write_edf(path, signals, sampling_rate_hz=RATE)
    assert read_header(path).labels == ("EEG F3", "EEG T3", "ECG ECG")


def test_slow_lead_beside_fast_ones_is_read_at_its_own_rate_or_refused_together(tmp_path):
    path = tmp_path / "rates.edf"
    signals = _signals() | {"Resp": np.linspace(-5, 5, 40)}
    write_edf(path, signals, sampling_rate_hz={"Resp": 10.0} | dict.fromkeys(_signals(), RATE))
    slow = read_edf(path, ["Resp"])
    assert slow.sampling_rate_hz == 10.0
    np.testing.assert_allclose(slow.signal[0], signals["Resp"], atol=0.016)
    with pytest.raises(InputError, match="EEG F3 100 Hz, Resp 10 Hz.*one rate"):
        read_edf(path, ["F3", "Resp"])


@pytest.mark.parametrize("left", [-1, -300, 1100, 700, 256, 100, 0])
def test_cut_off_file_names_itself(tmp_path, left):
    path = tmp_path / "cut.edf"
    write_edf(path, _signals(), sampling_rate_hz=RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.raises(InputError, match=r"cut\.edf.*(cut off|damaged)") as raised:
        read_edf(path, ["F3"])
    assert "again" in str(raised.value)


def test_cut_off_file_says_how_much_is_there(tmp_path):
    path = tmp_path / "cut.edf"
    write_edf(path, _signals(), sampling_rate_hz=RATE)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="promises 4 data records, the file holds 3"):
        read_edf(path)


def test_foreign_missing_and_misnamed_files(tmp_path):
    path = tmp_path / "note.edf"
    path.write_bytes(b"hello" * 400)
    with pytest.raises(InputError, match=r"note\.edf.*another format"):
        read_edf(path)
    with pytest.raises(InputError, match=r"gone\.edf does not exist"):
        read_edf(tmp_path / "gone.edf")
    with pytest.raises(InputError, match=r"a\.mat.*neither"):
        read_edf(tmp_path / "a.mat")


def test_discontinuous_file_is_refused(tmp_path):
    path = tmp_path / "gaps.edf"
    write_edf(path, _signals(), sampling_rate_hz=RATE, reserved="EDF+D")
    with pytest.raises(InputError, match=r"gaps\.edf is discontinuous"):
        read_edf(path)


def test_lead_that_is_no_voltage_is_refused_only_when_asked_for(tmp_path):
    path = tmp_path / "spo2.edf"
    signals = _signals() | {"SpO2": np.full(400, 97.0)}
    write_edf(path, signals, sampling_rate_hz=RATE, unit={"SpO2": "%"} | dict.fromkeys(
        _signals(), "uV"))
    assert read_edf(path, ["F3"]).leads == ("F3",)
    with pytest.raises(InputError, match="'SpO2' is in '%'"):
        read_edf(path)


def test_missing_lead_names_file_and_leads(tmp_path):
    path = tmp_path / "few.edf"
    write_edf(path, _signals(), sampling_rate_hz=RATE)
    with pytest.raises(InputError, match=r"'Oz' in .*few\.edf.*EEG F3, EEG T3, ECG ECG"):
        read_edf(path, ["Oz"])


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), None])
def test_recording_refuses_an_impossible_sampling_rate(rate):
    with pytest.raises(InputError, match="night: sampling rate"):
        Recording(np.zeros((1, 5)), rate, ("F3",), "uV", "night", "s")


@pytest.mark.parametrize(
    ("signal", "leads", "unit"),
    [
        (np.zeros(5), ("F3",), "uV"),
        (np.zeros((2, 5)), ("F3",), "uV"),
        (np.zeros((1, 5), int), ("F3",), "uV"),
        (np.zeros((2, 5)), ("F3", "F3"), "uV"),
        (np.zeros((2, 5)), ("F3", "F4"), ("uV",)),
    ],
)
def test_recording_refuses_parts_that_do_not_fit(signal, leads, unit):
    with pytest.raises(InputError, match="^night: "):
        Recording(signal, 100.0, leads, unit, "night", "s")
