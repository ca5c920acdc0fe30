"""Pretraining for studies: powers in bands, levels as labels, encoders kept."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.data import simulation
from jaxbridge.data.preparation import prepare
from jaxbridge.pretraining import PretrainSettings
from launch.studies import pretrained
from model_ports.errors import InputError
from tests.jaxbridge import tiny


def test_a_wave_has_its_power_in_its_own_band():
    time_s = np.arange(2000) / 200
    waves = [3 * np.sin(2 * np.pi * 10 * time_s), 0.5 * np.sin(2 * np.pi * 20 * time_s + 1)]
    found = pretrained.band_powers(np.array([[waves[0], waves[1]]]), 200.0, (4, 8, 13, 30))
    # mean over leads of amplitude^2 / 2; ten seconds hold whole periods
    np.testing.assert_allclose(found, [[0, 9 / 4, 0.25 / 4]], atol=1e-12)


def test_an_edge_belongs_to_the_band_above():
    wave = np.sin(2 * np.pi * 8 * np.arange(400) / 200)
    assert pretrained.band_powers(wave[None, None], 200.0, (4, 8, 13)).round(6).tolist() == [[0, 0.5]]


@pytest.fixture
def small(monkeypatch):
    """Six people, and encoders of a few features."""
    monkeypatch.setattr(pretrained, "PEOPLE", {"train": 3, "val": 3})
    monkeypatch.setattr(pretrained, "SETTINGS", PretrainSettings(windows_per_set=16, epochs=1))
    eeg = mp.create(
        "labram", rngs=nnx.Rngs(0), leads=simulation.EEG_LEADS, depth=1, mlp_features=16
    )
    _, ecg = tiny.encoders()
    monkeypatch.setattr(pretrained, "labram", lambda seed, leads: eeg)
    monkeypatch.setattr(pretrained, "hubert_ecg", lambda seed: ecg)
    return {"eeg": eeg, "ecg": ecg}


@pytest.mark.slow
def test_encoders_are_pretrained_once_on_a_task_for_each_band(small, tmp_path):
    first = pretrained.pretrained(tmp_path)
    for name, encoder in first.items():
        before, after = (jax.tree.leaves(nnx.state(e, nnx.Param)) for e in (small[name], encoder))
        assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    record = (tmp_path / "ecg" / "pretraining" / "metrics.csv").read_text()
    assert "ecg 0.1 to 0.7 Hz" in record and record.count(",train,") == 5
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = pretrained.pretrained(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written
    assert mp.weights_hash(again["eeg"]) == mp.weights_hash(first["eeg"])
    with pytest.raises(InputError, match="other|differ"):
        pretrained.pretrained(tmp_path, 1)


def test_levels_are_thirds_of_the_training_windows(tmp_path):
    people = simulation.Simulated(seed=3, sizes={"train": 3, "val": 1}, duration_s=40.0)
    store, _ = prepare(tmp_path, people, people.split, workers=0)
    for modality in ("eeg", "ecg"):
        tasks = pretrained.band_tasks(store, modality)
        assert len(tasks) == 5
        for task in tasks:
            counts = np.bincount(task.windows.labels[task.windows.splits == "train"], minlength=3)
            assert np.abs(counts - counts.mean()).max() <= 1
        assert len({task.windows.labels.tobytes() for task in tasks}) == 5
