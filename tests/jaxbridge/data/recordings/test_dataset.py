"""The data set protocol, refusals by name, and the way from two EDF files to a trained bridge."""

import pickle

import h5py
import numpy as np
import pytest
import yaml

from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, transfer
from jaxbridge.data.preparation import prepare
from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.opening import open_file
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.overview import skeleton
from jaxbridge.data.splits import SplitRule
from model_ports.errors import InputError
from tests.jaxbridge import tiny
from tests.jaxbridge.data.recordings.small_files import describe, leads, write
from tests.jaxbridge.data.recordings.two_edf_files import write_two_files


@pytest.fixture
def study(tmp_path):
    for number, stem in enumerate(("P01", "P02", "P03")):
        write(tmp_path, "npz", leads(25, seed=number), stem)
    return Recordings.from_yaml(describe(tmp_path / "study.yaml", "npz"))


def test_pickled_data_set_reads_the_same(study):
    again = pickle.loads(pickle.dumps(study))
    assert again.metadata == study.metadata and dict(again.recordings) == dict(study.recordings)
    for name, array in study.windows("P02").arrays.items():
        np.testing.assert_array_equal(again.windows("P02").arrays[name], array)


def test_metadata_follows_files_and_description_and_no_place(study, tmp_path):
    first = study.metadata
    assert set(first["sources"]) == {"P01.npz", "P02.npz", "P03.npz"}
    assert str(tmp_path) not in str(first)
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    for path in [*tmp_path.glob("*.npz"), tmp_path / "study.yaml"]:
        (elsewhere / path.name).write_bytes(path.read_bytes())
    assert Recordings.from_yaml(elsewhere / "study.yaml").metadata == first
    assert Recordings.from_yaml(elsewhere / "study.yaml", tmp_path).metadata == first
    text = (elsewhere / "study.yaml").read_text()
    (elsewhere / "study.yaml").write_text(text.replace("step_s: 5", "step_s: 6"))
    assert Recordings.from_yaml(elsewhere / "study.yaml").metadata != first
    write(elsewhere, "npz", leads(25, seed=9), "P02")
    changed = Recordings.from_yaml(elsewhere / "study.yaml").metadata["sources"]
    assert [name for name in changed if changed[name] != first["sources"][name]] == ["P02.npz"]


def test_store_in_worker_processes_keeps_notes(study, tmp_path):
    signals = leads(25, seed=1)
    signals["II"][100:103] = np.nan
    write(tmp_path, "npz", signals, "P02")
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text() + "gaps: {interpolate_up_to_s: 0.02}\n")
    rule = SplitRule({"pair": 1.0})
    here, _ = prepare(tmp_path / "here", Recordings.from_yaml(path), rule)
    there, written = prepare(tmp_path / "there", Recordings.from_yaml(path), rule, workers=2)
    assert written and here.hash == there.hash and here.content_sha256 == there.content_sha256
    assert there.split_report["notes"]["P02"]["interpolated_samples"] == {"ecg": {"II": 3}}
    assert there.split_report["notes"]["P01"]["interpolated_samples"] == {}


@pytest.mark.parametrize(("old", "new", "message"), [
    ("{II: II}", "[V9]", r"No lead 'V9' in .*P01\.npz. It has: II, PLETH"),
    ("{II: II}", '["ECG*"]', r"P01\.npz: no lead matches 'ECG\*'. It has: II, PLETH"),
    (", unit: mV", "", r"P01\.npz does not state the unit of lead 'II'. State .*modalities\.ecg\.unit"),
    (", rate_from: fs", "", r"P01\.npz does not state the sampling rate of lead 'II'. State"),
    ("unit: mV", "unit: mV, sampling_rate_hz: 250",
     r"P01\.npz: lead 'II' is at 200 Hz, .*modalities\.ecg\.sampling_rate_hz says 250. Remove it"),
    ("encoder: hubert_ecg_small, unit: mV", "encoder: labram, unit: a.u.",
     r"P01\.npz: unit 'a\.u\.' is no known voltage"),
    ("encoder: hubert_ecg_small", "encoder: ecg_fm", r"P01\.npz takes 12 leads"),
    ("encoder: hubert_ecg_small", "encoder: hubert_ecg_small, missing_leads: zero", None),
    ("{PLETH: PLETH}", "[PLETH, II]", r"P01\.npz: 2 leads \(PLETH, II\), this encoder takes 1"),
    ("window_s: 10", "window_s: 10.001", "Choose window_s so that it is a whole"),
])
def test_what_does_not_fit_the_file_is_named(tmp_path, old, new, message):
    write(tmp_path, "npz", leads(25))
    path = describe(tmp_path / "study.yaml", "npz")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    data = Recordings.from_yaml(path)
    if message is None:
        assert len(data.windows("P01").labels) == 4
        return
    with pytest.raises(InputError, match=message):
        data.windows("P01")


def test_units_that_contradict_the_file(tmp_path):
    write(tmp_path, "edf", leads(25))
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", "edf", ecg=", unit: uV"))
    with pytest.raises(InputError, match=r"P01\.edf: lead 'II' is in mV, .*ecg\.unit says uV. Remove"):
        data.windows("P01")


def test_leads_of_a_pattern_must_be_the_same_in_every_recording(tmp_path):
    write(tmp_path, "npz", leads(25), "P01")
    signals = leads(25)
    write(tmp_path, "npz", {"III": signals["II"], "PLETH": signals["PLETH"]}, "P02")
    path = describe(tmp_path / "study.yaml", "npz")
    path.write_text(path.read_text().replace("{II: II}", '["I*"]'))
    data = Recordings.from_yaml(path)
    assert data.metadata["modalities"]["ecg"]["leads"] == ["II"]
    assert len(data.windows("P01").labels) == 4
    with pytest.raises(InputError, match=r"P02\.npz: the lead patterns of modalities\.ecg give III"):
        data.windows("P02")


def test_arrays_of_different_length_are_not_simultaneous(tmp_path):
    path = tmp_path / "P01.h5"
    signals = leads(25)
    with h5py.File(path, "w") as file:
        for name, rate, length in (("II", 200.0, 5000), ("PLETH", 100.0, 2460), ("V", 200.0, 4000)):
            made = file.create_dataset(f"signals/{name}", data=signals["II"][:length])
            made.attrs["fs"], made.attrs["units"] = rate, "mV"
    described = describe(tmp_path / "study.yaml", "hdf5")
    text = described.read_text()
    message = r"P01\.h5: the signals differ in duration \(ecg 25\.000 s, ppg 24\.600 s\)"
    with pytest.raises(InputError, match=message):
        Recordings.from_yaml(described).windows("P01")
    described.write_text(text + "tolerance_s: 0.5\n")
    assert len(Recordings.from_yaml(described).windows("P01").labels) == 3
    described.write_text(text.replace("{II: signals/II}", "[signals/II, signals/V]"))
    with pytest.raises(InputError, match=r"numbers of samples \(signals/II 5000, signals/V 4000\)"):
        Recordings.from_yaml(described).windows("P01")


@pytest.mark.slow
def test_from_two_edf_files_to_a_trained_bridge(tmp_path):
    write_two_files(tmp_path, parts=16)
    files = [tmp_path / "P01_eeg.edf", tmp_path / "P01_ecg.edf"]
    start = yaml.safe_load(skeleton([(open_file(file), FileOptions()) for file in files]))
    start["files"]["marks"] = "{subject}_labels.csv"
    start["classes"] = ["rest", "load"]
    start["labels"] = {"from": "intervals", "file": "marks"}
    start["windows"] = {"window_s": 2, "step_s": 2}
    start["modalities"]["eeg"]["leads"] = {lead: f"EEG {lead}-REF" for lead in tiny.LEADS}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(start))
    data = Recordings.from_yaml(tmp_path / "study.yaml")
    rule = SplitRule(rule="time_block", sizes={"train": 0.4, "val": 0.2, "pair": 0.2, "test": 0.2})
    store, _ = prepare(tmp_path / "windows", data, rule)
    assert store.num_windows > 130 and store.shape("eeg") == (2, 2, 200)
    old, new = tiny.encoders()
    settings = TransferSettings(
        "eeg", "ecg", position=(1, 2),
        head=HeadSettings(unfrozen=True, epochs=4, learning_rate=1e-3, batch_size=16),
        bridge=BridgeSettings(rank=4, num_prototypes=6, epochs=4, batch_size=8),
    )
    result = transfer(store, old, new, settings)
    scores = {r["method"]: r["balanced_accuracy"] for r in result.metrics if r["split"] == "test"}
    assert scores["teacher"] > 0.6  # that the right signal came with the right label
    assert 0 <= scores["bridge"] <= 1
