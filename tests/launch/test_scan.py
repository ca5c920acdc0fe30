"""The scan as a person runs it, on tiny encoders, and transfer going on from it."""

import csv
import json

import numpy as np
import pytest

import model_ports as mp
from jaxbridge.data.store import WindowBatch, write_store
from tests.jaxbridge import tiny
from tests.launch.test_scripts import run


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Weights of tiny encoders, and windows of four people per split."""
    folder = tmp_path_factory.mktemp("scan")
    old, new = tiny.encoders()
    mp.save(old, folder / "old", origin="test")
    mp.save(new, folder / "new", origin="test")
    windows, batches = tiny.windows(per_class=8), []
    for split in ("train", "val", "pair", "test"):
        chosen = windows.indices(split)
        for person in range(4):
            some = chosen[person::4]
            arrays = {name: windows.read(name, some) for name in windows.modalities}
            name = f"{split}{person}"
            batches.append(WindowBatch(arrays, windows.labels[some], name, name, split))
    metadata = {"class_names": list(windows.class_names), "sources": {}}
    write_store(folder / "windows", batches, metadata)
    return [
        f"--store={folder / 'windows'}", f"--old_weights={folder / 'old'}",
        f"--new_weights={folder / 'new'}", "--head_epochs=20", "--rank=2", "--prototypes=3",
        "--epochs=1",
    ]


@pytest.fixture(scope="module")
def scanned(flags, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    done = run("scan", *flags, f"--out={out}", "--resamples=50")
    assert done.returncode == 0, done.stderr
    return done, out


def test_scan_writes_table_and_picture_and_ends_with_the_choice(scanned):
    done, out = scanned
    folder = out / "seed_0"
    with (folder / "scan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3
    (chosen,) = [row for row in rows if row["chosen"] == "True"]
    found = json.loads((folder / "scan.json").read_text())
    assert found["subjects"] == 4
    assert found["selection"]["m"] == int(chosen["new_layer_output"])
    assert np.shape(found["joint"]["low"]) == (2, 3)
    assert (folder / "scan.png").read_bytes().startswith(b"\x89PNG")
    m, l = chosen["new_layer_output"], chosen["old_layer_input"]  # noqa: E741
    assert f"Choice: output of new layer {m} into the input of old layer {l}" in done.stdout
    assert "Only 4 subjects" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_transfer_goes_on_in_the_scans_folder_and_chooses_the_same(scanned, flags):
    _, out = scanned
    done = run("transfer", *flags, f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done before, kept") == 2
    found = json.loads((out / "seed_0" / "scan.json").read_text())["selection"]
    m, l = found["m"], found["l"]  # noqa: E741
    assert f"chosen: output of new layer {m} into the input of old layer {l}" in done.stdout


@pytest.mark.slow
def test_fewer_folds_for_a_rare_class(flags, tmp_path):
    """The error says to use fewer folds, so there is a flag for it."""
    refused = run("scan", *flags, f"--out={tmp_path / 'a'}", "--nofold_by_subject", "--scan_folds=17")
    assert refused.returncode == 2 and "fewer than the 17 folds; use fewer folds" in refused.stderr
    done = run("scan", *flags, f"--out={tmp_path / 'b'}", "--scan_folds=2", "--resamples=20")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "b" / "seed_0" / "scan.json").read_text())
    assert np.shape(found["selection"]["probe_scores"]) == (2, 2)


@pytest.mark.parametrize(
    ("extra", "message"),
    [(["--resamples=0"], "--resamples=0"), (["--scan_folds=1"], "--scan_folds=1"),
     (["--criterion=best"], "criterion"), (["--position=1,1"], "position")],
)
def test_bad_flags(flags, scanned, extra, message):
    refused = run("scan", *flags, f"--out={scanned[1]}", *extra)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr and "Traceback" not in refused.stderr
