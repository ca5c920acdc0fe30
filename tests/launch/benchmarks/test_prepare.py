"""The benchmark of preparation: what it compares, and what it says where the reference stops."""

import numpy as np
import pytest

from jaxbridge.data.store import WindowBatch, write_store
from launch.benchmarks import prepare
from launch.benchmarks.prepare_reference_worker import _filter_signal
from launch.benchmarks.prepare_worker import _Preparation

METADATA = {"class_names": ["rest", "load"], "sources": {}, "window_s": 1.0, "step_s": 1.0}

# What a checkout's script has that matters: a function per file. This one writes a window per line.
_SCRIPT = '''
import os
import numpy as np
import pandas as pd
import torch

def preprocess_split_save(args, split, file):
    assert os.path.isdir(os.path.join(args.wesad_path, file)), "no such subject"
    for i in range(3):
        name = f"subject_{int(file[1:]):02}_segment_{i}"
        values = np.random.default_rng(i).normal(size=6000)
        np.savez(os.path.join(args.output_dir, split, name), ECG=values, PPG=values[:10], label=0)
'''


def _windows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 200)).astype(np.float32), rng.normal(size=(6, 2, 3, 40))


def test_comparison_pairs_windows_by_their_samples(tmp_path):
    ecg, eeg = _windows()
    batches = [
        WindowBatch({"ecg": ecg[:3], "eeg": eeg[:3]}, np.array([0, 1, 0]), "S2", "S2", "pair"),
        WindowBatch({"ecg": ecg[3:], "eeg": eeg[3:]}, np.array([1, 1, 0]), "S10", "S10", "pair"),
    ]
    write_store(tmp_path / "store", batches, METADATA)
    # The reference lacks a window, has one that we have not, a wrong label, and one sample off by 1 %.
    theirs = tmp_path / "theirs" / "train"
    theirs.mkdir(parents=True)
    off = ecg[4].astype(float)
    off[17] += 0.01 * np.abs(off).max()
    given = [
        ("02", 0, ecg[0], 0, 0), ("02", 1, ecg[2], 2, 1), ("10", 0, ecg[3], 3, 1),
        ("10", 1, off, 4, 1), ("10", 2, ecg[0] + 1.0, 5, 1),
    ]
    for subject, number, values, i, label in given:
        np.savez(
            theirs / f"subject_{subject}_segment_{number}", ECG=values,
            EEG=100 * eeg[i].reshape(2, -1), label=label,
        )
    found = _Preparation().compare(str(tmp_path / "store"), str(tmp_path / "theirs"))
    assert (found["ours"], found["theirs"], found["both"]) == (6, 5, 4)
    assert found["labels_differ"] == 1
    assert found["error"] == pytest.approx(0.01, rel=0.02)


def test_the_filter_that_stands_in_for_another_filters_alike():
    time_s = np.arange(4000) / 500
    wanted = np.sin(2 * np.pi * 20 * time_s)
    signal = wanted[None] + np.sin(2 * np.pi * 120 * time_s)
    got, rate, _ = _filter_signal(
        signal=signal, ftype="FIR", band="bandpass", order=150, frequency=[0.05, 47],
        sampling_rate=500,
    )
    assert rate == 500
    np.testing.assert_allclose(got[0, 500:-500], wanted[500:-500], atol=0.01)


@pytest.fixture
def checkout(tmp_path):
    scripts = tmp_path / "BioX-Bridge" / "dataset_preprocessing"
    scripts.mkdir(parents=True)
    (scripts / "make_WESAD.py").write_text(_SCRIPT)
    return tmp_path


def _settings(reference):
    return prepare.Settings(reference=str(reference), rounds=1, threads=1)


@pytest.mark.slow
def test_a_row_beside_a_reference_and_one_where_it_stops(checkout, tmp_path):
    arguments = {"subjects": ["S2", "S3"], "minutes": 1.2}
    with prepare.Worker("launch.benchmarks.prepare_worker", threads=1) as ours:
        (tmp_path / "one").mkdir()
        row = prepare._row(_settings(checkout), ours, tmp_path / "one", "wesad", arguments)
        assert row.reference_s > 0 and row.times_faster > 0
        assert row.equal == "0/6" and row.windows > 0
        script = checkout / "BioX-Bridge" / "dataset_preprocessing" / "make_WESAD.py"
        script.write_text(_SCRIPT.replace("for i in", "raise ValueError('no match')\n    for i in"))
        (tmp_path / "two").mkdir()
        row = prepare._row(_settings(checkout), ours, tmp_path / "two", "wesad", arguments)
    assert row.note == "the reference stops: ValueError: no match"
    assert row.reference_s is None and row.ours_s > 0
    assert "no match" in prepare.TABLE.line(row)
