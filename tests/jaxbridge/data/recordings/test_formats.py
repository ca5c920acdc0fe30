import h5py
import numpy as np
import pytest

from jaxbridge.data.recipes import prepare, recipe
from jaxbridge.data.recording import Recording
from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.opening import open_file
from jaxbridge.data.recordings.options import FileOptions
from model_ports.errors import InputError
from tests.jaxbridge.data.edf_writer import write_edf
from tests.jaxbridge.data.recordings.small_files import FILE_KEYS, RATE, describe, leads, write


@pytest.mark.parametrize("kind", FILE_KEYS)
def test_every_format_gives_the_same_windows(tmp_path, kind):
    signals = leads()
    write(tmp_path, kind, signals)
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", kind))
    assert dict(data.recordings) == {"P01": "P01"}
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, np.arange(7) * 5.0)
    for name, lead, encoder in (("ecg", "II", "hubert_ecg"), ("ppg", "PLETH", "papagei")):
        chosen = recipe(encoder)
        whole = prepare(Recording(signals[lead][None], RATE, ("x",), "mV", "r", "s"), chosen)[0]
        length = round(10 * chosen.sampling_rate_hz)
        want = np.stack([whole[i * length // 2 :][:length] for i in range(7)])
        # 16-bit files hold +-4 in steps of 1.2e-4
        np.testing.assert_allclose(batch.arrays[name].reshape(7, -1), want, atol=2e-3)
    assert batch.labels.tolist() == [0] * 7
    assert data.metadata["class_names"] == ["unlabelled"]


@pytest.mark.parametrize("kind", ["edf", "wfdb", "hdf5"])
def test_rate_and_unit_of_the_file_are_known_without_a_description(tmp_path, kind):
    contents = open_file(write(tmp_path, kind, leads()))
    assert [lead.sampling_rate_hz for lead in contents.leads] == [RATE, RATE]
    assert [lead.unit for lead in contents.leads] == ["mV", "NU"]
    assert [lead.num_samples for lead in contents.leads] == [8000, 8000]


@pytest.mark.parametrize(("rate", "message"), [
    ("200 Hz", r"P01\.h5 does not state the sampling rate of lead 'signals/II'. State .*rate_hz"),
    (np.array([]), r"P01\.h5 does not state the sampling rate of lead 'signals/II'"),
    (0.0, r"P01\.h5: lead 'signals/II': sampling rate 0\.0 Hz\. State the true rate"),
    (np.nan, r"P01\.h5: lead 'signals/II': sampling rate nan Hz\. State the true rate"),
    (-200.0, r"P01\.h5: lead 'signals/II': sampling rate -200\.0 Hz\. State the true rate"),
])
def test_rate_of_the_file_that_is_no_rate(tmp_path, rate, message):
    with h5py.File(write(tmp_path, "hdf5", leads()), "a") as file:
        for name in ("II", "PLETH"):
            file[f"signals/{name}"].attrs["sampling_rate"] = rate
    with pytest.raises(InputError, match=message):
        Recordings.from_yaml(describe(tmp_path / "study.yaml", "hdf5")).windows("P01")


def test_record_whose_header_does_not_tell_its_length(tmp_path):
    header = write(tmp_path, "wfdb", leads())
    whole = Recordings.from_yaml(describe(tmp_path / "study.yaml", "wfdb")).windows("P01")
    header.write_text(header.read_text().replace("P01 2 200 8000", "P01 2 200"))
    contents = open_file(header)
    assert [lead.num_samples for lead in contents.leads] == [8000, 8000]
    batch = Recordings.from_yaml(tmp_path / "study.yaml").windows("P01")
    np.testing.assert_array_equal(batch.arrays["ecg"], whole.arrays["ecg"])


def test_pickled_objects_are_not_loaded(tmp_path):
    contents = open_file(write(tmp_path, "npz", leads()), FileOptions(rate_from="fs"))
    assert contents.names == ("II", "PLETH")


def test_edf_with_leads_of_three_rates_and_a_unit_that_is_no_voltage(tmp_path):
    path = tmp_path / "night.edf"
    rng = np.random.default_rng(0)
    signals = {"EEG F3": rng.uniform(-90, 90, 800), "SpO2": rng.uniform(90, 99, 4),
               "Resp": rng.uniform(-9, 9, 100)}
    write_edf(path, signals, sampling_rate_hz={"EEG F3": 200, "SpO2": 1, "Resp": 25},
              unit={"EEG F3": "uV", "SpO2": "%", "Resp": ""}, physical_max=100)
    contents = open_file(path)
    assert [(x.sampling_rate_hz, x.unit) for x in contents.leads] == [
        (200, "uV"), (1, "%"), (25, None)]
    got = contents.load([2, 0, 1])
    for values, name in zip(got, ("Resp", "EEG F3", "SpO2"), strict=True):
        np.testing.assert_allclose(values, signals[name], atol=0.51 * 100 / 32767)


@pytest.mark.parametrize("unit", ["uV", "uv", "microV", "\u00b5V"])
def test_edf_microvolts_in_every_spelling(tmp_path, unit):
    path = tmp_path / "eeg.edf"
    eeg = np.random.default_rng(0).uniform(-90, 90, 400)
    write_edf(path, {"EEG F3": eeg}, sampling_rate_hz=100, unit=unit, physical_max=100)
    contents = open_file(path)
    assert contents.leads[0].unit == "uV"
    np.testing.assert_allclose(contents.load([0])[0], eeg, atol=0.51 * 100 / 32767)


def test_inverted_edf_signal_keeps_its_physical_values(tmp_path):
    path = tmp_path / "up.edf"
    ecg = np.random.default_rng(0).uniform(-900, 900, 400)
    write_edf(path, {"ECG": -ecg}, sampling_rate_hz=100.0)
    data = path.read_bytes()
    low, high = data[360:368], data[368:376]  # physical minimum and maximum of the only signal
    assert float(low) == -1000 and float(high) == 1000
    path.write_bytes(data[:360] + high + low + data[376:])
    contents = open_file(path)
    assert contents.leads[0].inverted
    np.testing.assert_allclose(contents.load([0])[0], ecg, atol=0.02)


def test_table_without_header_and_with_missing_cells(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("# made by hand\n1,2\n3,\n5,6\n")
    contents = open_file(path, FileOptions(lead_names=("a", "b")))
    assert contents.names == ("a", "b")
    np.testing.assert_array_equal(contents.load([1])[0], [2, np.nan, 6])
    with pytest.raises(InputError, match="has 2 columns, `lead_names` names 1"):
        open_file(path, FileOptions(lead_names=("a",)))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("text", ["EEG in \u00b5V\n1\n2\n", "EEG,note\n1,ok\n2,\u00e4\n"])
def test_table_in_another_encoding(tmp_path, encoding, text):
    path = tmp_path / "eeg.csv"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"eeg\.csv is no text in UTF-8 \(.*\)\. Save it so"):
        open_file(path)


def test_table_whose_rows_end_in_a_separator(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text("ECG,BVP\n" + "".join(f"{i},{10 * i},\n" for i in range(5)))
    contents = open_file(path)
    assert contents.names == ("ECG", "BVP")
    np.testing.assert_array_equal(contents.load([0, 1]), [np.arange(5), 10 * np.arange(5)])
    path.write_text("ECG,BVP\n1,2,3\n4,5,6\n")
    with pytest.raises(InputError, match=r"raw\.csv has 2 names in its header and 3 cells in its rows"):
        open_file(path)
    path.write_text("ECG,BVP\n1,,\n4,,\n")
    np.testing.assert_array_equal(open_file(path).load([0, 1]), [[1, 4], [np.nan, np.nan]])


def test_time_column_with_missing_rows_makes_gaps(tmp_path):
    signals = leads()
    keep = np.r_[0:2000, 2003:8000]  # three rows lost at 10 s
    time_ms = 1e6 + keep * 5
    body = np.c_[time_ms, signals["II"][keep], signals["PLETH"][keep]]
    np.savetxt(tmp_path / "P01.csv", body, delimiter=",", header="ms,II,PLETH", comments="", fmt="%.9g")
    path = describe(tmp_path / "study.yaml", "csv", head="gaps: {interpolate_up_to_s: 0.02}")
    timed = '"{subject}.csv", time_column: ms, time_unit: ms'
    path.write_text(path.read_text().replace('"{subject}.csv"', timed))
    batch = Recordings.from_yaml(path).windows("P01")
    assert len(batch.labels) == 7
    assert batch.notes["interpolated_samples"] == {"ecg": {"II": 3}, "ppg": {"PLETH": 3}}
    filled = signals["II"].copy()
    filled[2000:2003] = np.interp([2000, 2001, 2002], [1999, 2003], filled[[1999, 2003]])
    whole = prepare(Recording(filled[None], RATE, ("x",), "mV", "r", "s"), recipe("hubert_ecg"))[0]
    np.testing.assert_allclose(batch.arrays["ecg"][3], whole[1500:2500], atol=1e-4)


def test_time_column_that_contradicts_the_stated_rate(tmp_path):
    signals = leads()
    body = np.c_[np.arange(8000) / 201.0, signals["II"], signals["PLETH"]]
    np.savetxt(tmp_path / "P01.csv", body, delimiter=",", header="t,II,PLETH", comments="", fmt="%.9g")
    path = describe(tmp_path / "study.yaml", "csv")
    path.write_text(path.read_text().replace('"{subject}.csv"', '"{subject}.csv", time_column: t'))
    message = r"P01\.csv: the time column implies 201 Hz, 200 Hz are stated.*drift of 0\.199 s"
    with pytest.raises(InputError, match=message):
        Recordings.from_yaml(path).windows("P01")


def test_dates_and_time_columns_give_the_start(tmp_path):
    path = tmp_path / "watch.csv"
    path.write_text("when,BVP\n2024-05-01T10:00:00.500,1\n2024-05-01T10:00:00.750,2\n")
    contents = open_file(path, FileOptions(time_column="when", time_unit="date"))
    assert (contents.start.clock, contents.start.seconds) == ("date", 1714557600.5)
    np.testing.assert_allclose(contents.times_s, [0, 0.25])
    with pytest.raises(InputError, match=r"watch\.csv has no column 'time'. It has: when, BVP"):
        open_file(path, FileOptions(time_column="time"))


@pytest.mark.parametrize("kind", FILE_KEYS)
def test_cut_off_file_is_refused_by_name(tmp_path, kind):
    path = write(tmp_path, kind, leads())
    file = tmp_path / "P01.dat" if kind == "wfdb" else path
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", kind))
    if kind in ("csv", "tsv", "txt"):  # a shorter table is a table, its last row being incomplete
        file.write_bytes(whole[: len(whole) // 2].rsplit(b"\n", 1)[0] + b"\n0.5x\n")
    with pytest.raises(InputError, match=rf"P01\.{path.suffix[1:]}"):
        data.windows("P01")


@pytest.mark.parametrize(("kind", "options", "message"), [
    ("mat", {"array": "dat"}, r"has no array 'dat'. It has: data \(2, 8000\), fs"),
    ("mat", {"array": "data", "lead_names": ("II",)}, "has 2 leads, `lead_names` names 1"),
    ("mat", {"array": "data", "rate_from": "data"}, "one number is needed"),
    ("mat", {}, "no one-dimensional array. Name the array"),
    ("mat", {"header": "gone.hea"}, r"gone\.hea does not exist"),
    ("csv", {"array": "data"}, "`array` is for mat, hdf5, npz, not for table"),
    ("edf", {"time_column": "t"}, "`time_column` is for table, not for edf"),
])
def test_options_that_do_not_fit(tmp_path, kind, options, message):
    path = write(tmp_path, kind, leads())
    with pytest.raises(InputError, match=message):
        open_file(path, FileOptions(**options))


def test_unknown_ending_and_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"'\.dat' is no known format.*of a WFDB record give the .hea"):
        open_file(tmp_path / "x.dat")
    for ending in ("edf", "hea", "mat", "h5", "npz", "csv"):
        with pytest.raises(InputError, match=rf"x\.{ending} does not exist"):
            open_file(tmp_path / f"x.{ending}")


def test_record_whose_signal_file_is_missing(tmp_path):
    path = write(tmp_path, "wfdb", leads())
    (tmp_path / "P01.dat").unlink()
    with pytest.raises(InputError, match=r"P01\.hea names the signal file P01\.dat, which is not"):
        open_file(path)


@pytest.mark.parametrize("kind", FILE_KEYS)
def test_damaged_bytes_are_windows_or_one_line(tmp_path, kind):
    rng = np.random.default_rng(0)
    write(tmp_path, kind, leads(25))
    path = describe(tmp_path / "study.yaml", kind)
    refused = 0
    for file in sorted(tmp_path.glob("P01*")):
        whole = file.read_bytes()
        for cut in range(10):
            damaged = bytearray(whole)
            if cut % 2:
                del damaged[rng.integers(len(whole)) :]
            else:
                damaged[rng.integers(min(len(whole), 2000))] = rng.integers(256)
            file.write_bytes(damaged)
            try:
                Recordings.from_yaml(path).windows("P01")
            except InputError as error:
                refused += 1
                assert "\n" not in str(error) and "P01" in str(error)
        file.write_bytes(whole)
    assert refused >= 3
