"""Directions from files to a table beside the paper's."""

import csv
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge import TransferResult
from launch.published import reproduction
from launch.published.data_sets import DATA_SETS, opened
from launch.published.directions import ALL, DIRECTIONS, EEGMAT, VARIANTS, direction
from launch.published.encoders import SMALL, study_encoder
from launch.published.reproduction import Reproduction, summary
from launch.published.table import beside_published, text
from model_ports.errors import InputError
from tests.jaxbridge.data.eegmat_files import write_subjects

_ROOT = pathlib.Path(__file__).parents[2]


def _run(cache: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
    # One device; programs are compiled quickly, and once if several directions share them.
    environment = {
        **os.environ, "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    }
    return subprocess.run(
        [sys.executable, "-m", "launch.reproduce", *flags], cwd=_ROOT, text=True,
        capture_output=True, check=False, env=environment,
    )


@pytest.mark.slow
def test_the_six_directions_on_simulated_files(tmp_path):
    done = _run(tmp_path / "cache", "--direction=six", "--simulate", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SIMULATED files") == 6 == done.stdout.count("RANDOM WEIGHTS")
    assert "KD-Contrast" in done.stdout
    for found in DIRECTIONS.values():
        folder = tmp_path / "out" / found.name
        with (folder / "beside_published.csv").open() as file:
            rows = {(row["method"], row["score"]): row for row in csv.DictReader(file)}
        bridge = rows["bridge", "balanced_accuracy"]
        assert 0 <= float(bridge["ours"]) <= 100
        if found.published is None:
            assert bridge["paper"] == "" == bridge["difference"]
        else:
            difference = float(bridge["ours"]) - found.published.bridge.balanced_accuracy
            assert float(bridge["difference"]) == pytest.approx(difference)
        settings = json.loads((folder / "seed_0" / "run" / "run.json").read_text())["settings"]
        assert settings["head"]["unfrozen"] == found.head.unfrozen
        assert settings["head"]["learning_rate"] == found.head.learning_rate
        assert settings["bridge"]["loss"] == found.bridge.loss
        assert settings["old"]["name"] == found.old and settings["new"]["name"] == found.new
        splits = json.loads((folder / "seed_0" / "run" / "report" / "metrics.json").read_text())
        assert {row["split"] for row in splits} == {"train", "val", "test"}
        assert sum(splits[0]["confusion"][0]) > 0


@pytest.mark.slow
def test_variants_without_a_published_position_on_simulated_files(tmp_path):
    names = "wesad_ppg2ecg_ecg_fm,wesad_ecg2ppg_ecg_dualnet,isruc_ecg2eeg_hubert_ecg_large"
    done = _run(tmp_path / "cache", f"--direction={names}", "--simulate", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    for name, encoders in zip(names.split(","), (
        ("papagei", "ecg_fm"), ("ecg_dualnet", "papagei"), ("hubert_ecg_large", "labram"),
    ), strict=True):
        run = json.loads((tmp_path / "out" / name / "seed_0" / "run" / "run.json").read_text())
        assert (run["settings"]["old"]["name"], run["settings"]["new"]["name"]) == encoders


@pytest.mark.slow
def test_ai4pain_on_simulated_files(tmp_path):
    flags = ("--direction=ai4pain", "--simulate", f"--out={tmp_path / 'out'}")
    done = _run(tmp_path / "cache", *flags)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "ai4pain" / "table.json").read_text())
    own = [row for row in rows if row["source"] == "this run"]
    singles = [row["modalities"] for row in own if not row["fusion"]]
    assert singles == ["eda", "bvp", "resp", "spo2"]
    assert {row["fusion"] for row in own} == {"", "concatenate", "add", "gate"}
    assert "82.41" in done.stdout and "SIMULATED files" in done.stdout


@pytest.mark.parametrize(("flags", "message"), [
    (["--direction=ai4pain"], "--data is not given.*Eda/1.csv"),
    (["--direction=ai4pain,wesad_ppg2ecg", "--simulate"], "ai4pain is no bridge's direction"),
    (["--direction=wesad_ppg2ecg"], "--data is not given.*S2/S2.pkl"),
    (["--direction=isruc_eeg2ecg", "--data=/nowhere"], "needs the pretrained weights of labram and"),
])
def test_refusals(tmp_path, flags, message):
    refused = _run(tmp_path, *flags, f"--out={tmp_path / 'out'}")
    assert refused.returncode == 2, refused.stderr
    assert "Traceback" not in refused.stderr
    assert re.search(message, refused.stderr, re.DOTALL), refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def eegmat(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("eegmat")
    write_subjects(folder, 8)
    return folder


def test_folds_test_everybody_once_and_pool(eegmat, tmp_path, monkeypatch):
    monkeypatch.setattr(
        reproduction, "opened",
        lambda *given, **options: opened(*given, **options, eeg_leads=("F3", "C3"), window_s=20.0),
    )
    encoders, folds = [], []

    def encoder(name, leads, **given):
        encoders.append((name, tuple(leads), given["seed"], given["small"]))
        return name

    def transferred(windows, old, new, settings, *, out, head):
        """In place of training: right for one class, and for the other in the first fold."""
        folds.append(windows)
        test = windows.indices("test")
        right = windows.labels[test] if len(folds) == 1 else np.zeros(len(test), np.int64)
        (out / "report").mkdir(parents=True)
        names = ("teacher", "bridge", "shuffled", "oracle")
        np.savez(out / "report" / "predictions.npz", windows_test=test,
                 **{f"{name}_test": right for name in names})
        rows = [{"method": name, "trainable_parameters": 5} for name in reproduction.METHODS]
        return TransferResult(None, None, rows)

    monkeypatch.setattr(reproduction, "study_encoder", encoder)
    monkeypatch.setattr(reproduction, "transfer", transferred)
    found = Reproduction(
        direction=EEGMAT["eegmat_eeg2ecg"], data=str(eegmat), checkpoints=None, out=tmp_path / "out",
    )
    rows = found.folds(3, 2)
    assert set(encoders) == {("labram", ("F3", "C3"), 3, False),
                             ("hubert_ecg_small", ("ECG ECG",), 1003, False)}
    tested = [set(fold.subjects[fold.indices("test")]) for fold in folds]
    assert not tested[0] & tested[1] and len(tested[0] | tested[1]) == 8
    for fold, test in zip(folds, tested, strict=True):
        for other in ("train", "val", "pair"):
            assert not test & set(fold.subjects[fold.indices(other)])
        assert fold.metadata["split"]["rule"] == "subject"
    bridge = next(row for row in rows if row["method"] == "bridge")
    # Everybody, both classes, 5 windows of 20 s every 10 s; class 1 is right in 4 people of 8.
    assert bridge["windows"] == 8 * 2 * 5 and bridge["trainable_parameters"] == 5
    assert bridge["confusion"] == [[40, 0], [20, 20]]
    assert bridge["balanced_accuracy"] == 0.75
    assert 0.5 <= bridge["balanced_accuracy_low"] < 0.75 < bridge["balanced_accuracy_high"] <= 1
    assert "75.00 (" in text(beside_published(found.direction, summary([rows])), 1)
    with pytest.raises(InputError, match="folds are of subjects"):
        dataclasses.replace(found, split="paper").folds(0, 2)
    with pytest.raises(InputError, match="2 to 8 folds"):
        found.folds(0, 9)


def test_weights_from_a_folder(tmp_path):
    small = mp.create(
        "hubert_ecg_small", rngs=nnx.Rngs(3), **SMALL["hubert_ecg_small"]
    )
    given = {"checkpoints": tmp_path, "small": False, "seed": 0, "dtype": "float32"}
    with pytest.raises(InputError, match="has no weights of hubert_ecg_small: put there the folder"):
        study_encoder("hubert_ecg_small", (), **given)
    mp.save(small, tmp_path / "hubert_ecg_small")
    read = study_encoder("hubert_ecg_small", (), **given)
    assert mp.weights_hash(read) == mp.weights_hash(small)
    labram = mp.create("labram", rngs=nnx.Rngs(3), leads=("O1", "O2"), **SMALL["labram"])
    mp.save(labram, tmp_path / "labram")
    assert study_encoder("labram", ["F3", "C3"], **given).config.leads == ("F3", "C3")
    published = mp.sources("papagei").files[0].name
    (tmp_path / published).write_bytes(b"no weights")
    with pytest.raises(InputError, match=published):
        study_encoder("papagei", (), **given)


def test_directions_fit_their_data_sets_and_encoders():
    assert len(ALL) == len(DIRECTIONS) + len(VARIANTS) + len(EEGMAT)
    for found in ALL.values():
        assert direction(found.name) is found
        assert DATA_SETS[found.dataset].rule in ("subject", "time_block")
        assert {found.old, found.new} <= set(mp.available()) & set(SMALL)
        if found.dataset != "eegmat":
            # The reader makes what the encoders read: shapes are checked where windows are made.
            opened(found.dataset, "/nowhere", found.encoders, **found.options)
        if found.head.class_weights is not None:
            assert len(found.head.class_weights) == found.num_classes
    assert direction("wesad_ppg2ecg_ecg_fm").published.bridge.parameters == "0.11M"
    assert direction("isruc_ecg2eeg_hubert_ecg_large").old == "hubert_ecg_large"
    assert not any(name.startswith("isruc") and "dualnet" in name for name in VARIANTS)


def _row(method: str, value: float) -> dict:
    scores = dict.fromkeys(("balanced_accuracy", "f1_macro", "f1_weighted"), value)
    spread = {f"{name}_std": 0.01 for name in scores}
    return {"method": method, "split": "test", "trainable_parameters": 1234, **scores, **spread}


def test_the_table_beside_the_papers():
    found = direction("isruc_eeg2ecg")
    rows = beside_published(found, [_row("teacher", 0.65), _row("bridge", 0.6)])
    by = {(row["method"], row["score"]): row for row in rows}
    assert by["bridge", "balanced_accuracy"]["difference"] == pytest.approx(-0.11)
    assert by["bridge", "f1_weighted"]["difference"] == pytest.approx(60 - 74.02)
    assert by["teacher", "balanced_accuracy"]["difference"] == pytest.approx(65 - 63.54)
    assert by["teacher", "f1_macro"]["difference"] is None
    assert by["best baseline (KD)", "f1_macro"]["paper"] == 61.01
    shown = text(rows, runs=3)
    assert "60.00 ± 1.00" in shown and "-0.11" in shown and "1.8M" in shown and "1,234" in shown
    unpublished = beside_published(direction("fog_emg2eeg"), [_row("bridge", 0.6)])
    assert all(row["paper"] is None for row in unpublished)
