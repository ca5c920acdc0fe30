"""`--pair_fraction` and `--stratify` through the scripts: what is in which split of the store."""

import json

import numpy as np
import pytest

from jaxbridge.data.store import WindowStore
from tests.jaxbridge.data.recordings.small_files import leads, write
from tests.launch.one_process import outputs

_SPLITS_OF = """
found = script.windows(pathlib.Path(flags.FLAGS.out), 0)
splits = {split: found.indices(split).tolist() for split in ("train", "pair", "test")}
print(json.dumps({"hash": found.hash, **splits}))
"""
_DESCRIPTION = """
name: people
files: {all: {pattern: "{subject}_{part}.npz", rate_from: fs}}
modalities:
  ecg: {leads: [II], encoder: hubert_ecg_small, unit: mV}
  ppg: {leads: [PLETH], encoder: papagei, unit: a.u.}
windows: {window_s: 5, step_s: 5}
classes: [rest, work]
labels: {from: field, field: part}
"""
_SPLITS = ("train", "pair", "test")


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Recordings of eight people, four of them mostly at rest, four mostly at work."""
    folder = tmp_path_factory.mktemp("people")
    for person in range(8):
        for part, long in (("rest", person < 4), ("work", person >= 4)):
            write(folder, "npz", leads(40 if long else 10, seed=person), f"P{person}_{part}")
    (folder / "study.yaml").write_text(_DESCRIPTION)
    return [f"--data={folder / 'study.yaml'}", "--workers=0", "--sizes=train=2,pair=4,test=2"]


@pytest.fixture(scope="module")
def stores(flags, tmp_path_factory):
    """The stores that `launch.prepare` made, by what was asked for."""
    folder = tmp_path_factory.mktemp("stores")
    asked = {
        "whole": [], "half": ["--pair_fraction=0.5"], "quarter": ["--pair_fraction=0.25"],
        "stratified": ["--stratify"],
    }
    outputs("prepare", [[*flags, f"--out={folder / name}", *more] for name, more in asked.items()])
    return {name: WindowStore.open(folder / name) for name in asked}


def _windows(store, split):
    chosen = store.indices(split)
    return set(zip(store.recordings[chosen].tolist(), store.start_s[chosen].tolist(), strict=True))


def test_a_share_of_the_pairs_is_part_of_a_larger_one(stores):
    whole, half, quarter = (_windows(stores[name], "pair") for name in ("whole", "half", "quarter"))
    assert (len(whole), len(half), len(quarter)) == (40, 20, 10)
    assert quarter < half < whole
    for split in ("train", "test"):
        assert _windows(stores["half"], split) == _windows(stores["whole"], split)
    kept = stores["half"]
    people, counts = np.unique(kept.subjects[kept.indices("pair")], return_counts=True)
    assert len(people) == 4 and set(counts.tolist()) == {5}  # of everybody half of 10
    assert kept.metadata["split"]["pair_fraction"] == 0.5


def _shares(store):
    """Share of windows at work by split."""
    return [float(store.labels[store.indices(split)].mean()) for split in _SPLITS]


def test_stratified_splits_are_alike_in_their_classes(stores):
    assert _shares(stores["stratified"]) == [0.5, 0.5, 0.5]
    assert max(_shares(stores["whole"])) > 0.6
    people = [set(stores["stratified"].subjects[stores["stratified"].indices(s)]) for s in _SPLITS]
    assert sorted(name for some in people for name in some) == sorted(set().union(*people))


def test_training_takes_the_same_windows(stores, flags, tmp_path):
    whole, quarter = stores["whole"], stores["quarter"]
    modalities = [
        "--old=hubert_ecg_small", "--old_modality=ecg", "--new=papagei", "--new_modality=ppg",
    ]
    shared, stratified = (json.loads(line) for line in outputs("transfer", [
        [*modalities, f"--store={whole.path}", f"--out={tmp_path}", "--pair_fraction=0.25"],
        [*modalities, *flags, f"--out={tmp_path}", "--stratify"],
    ], _SPLITS_OF))
    pairs = np.array(shared["pair"])
    named = zip(whole.recordings[pairs].tolist(), whole.start_s[pairs].tolist(), strict=True)
    assert set(named) == _windows(quarter, "pair")
    for split in ("train", "test"):
        assert shared[split] == whole.indices(split).tolist()
    assert stratified["hash"] == stores["stratified"].hash
