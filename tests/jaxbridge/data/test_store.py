import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data import store as store_module
from jaxbridge.data.store import (
    WindowBatch,
    WindowStore,
    ensure_store,
    inputs_hash,
    write_store,
)
from model_ports.errors import InputError

METADATA = {
    "dataset": "toy",
    "class_names": ["rest", "task"],
    "sources": {"a.edf": "00ff"},
    "window_s": 10.0,
    "step_s": 10.0,
}
SPLIT = {"s1": "train", "s2": "val", "s3": "test", "s4": "pair"}


def batches(count=5, seed=0, zero=False):
    rng = np.random.default_rng(seed)
    for subject, split in SPLIT.items():
        for label in (0, 1):
            yield WindowBatch(
                {
                    "eeg": rng.normal(size=(count, 2, 3, 20)) * (not zero),
                    "ecg": rng.normal(size=(count, 30)),
                },
                np.full(count, label),
                subject,
                f"{subject}_{label}",
                split,
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("stores") / "made", batches(), METADATA)


def test_everything_comes_back(made):
    wanted = list(batches())
    store = WindowStore.open(made.path)
    assert store.metadata == METADATA
    assert store.num_windows == 40
    assert store.modalities == ("eeg", "ecg")
    assert store.class_names == ("rest", "task")
    assert store.shape("eeg") == (2, 3, 20)
    assert store.shape("ecg") == (30,)
    for modality in store.modalities:
        whole = np.concatenate([batch.arrays[modality] for batch in wanted]).astype(np.float32)
        got = store.read(modality, np.arange(40))
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, whole)
    np.testing.assert_array_equal(store.labels, np.concatenate([b.labels for b in wanted]))
    for key in ("subject", "recording", "split"):
        names = np.repeat([getattr(b, key) for b in wanted], 5)
        np.testing.assert_array_equal(getattr(store, f"{key}s"), names)
    np.testing.assert_array_equal(store.indices("val"), np.arange(10, 20))


@given(indices=st.lists(st.integers(0, 39), max_size=60))
def test_read_gives_the_order_asked_for(made, indices):
    whole = made.read("eeg", np.arange(40))
    np.testing.assert_array_equal(made.read("eeg", indices), whole[np.array(indices, int)])


@pytest.mark.parametrize("indices", [[-1], [40], [0, 99]])
def test_read_out_of_range(made, indices):
    with pytest.raises(IndexError, match="0 to 39"):
        made.read("eeg", indices)


def test_unknown_modality_and_split_list_what_is_there(made):
    for call in (lambda: made.read("ppg", [0]), lambda: made.shape("ppg")):
        with pytest.raises(InputError, match=r"'ppg'.*eeg, ecg"):
            call()
    with pytest.raises(InputError, match="'dev'.*pair, test, train, val"):
        made.indices("dev")


def test_opened_store_is_read_only(made):
    with pytest.raises(ValueError, match="read-only"):
        made.labels[0] = 1
    with pytest.raises(ValueError, match="support writing"):
        made._array("eeg").write(0).result()
    made.metadata["dataset"] = "other"
    assert made.metadata == METADATA


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 10**6])
def test_chunk_size_changes_nothing(tmp_path, monkeypatch, made, chunk_bytes):
    monkeypatch.setattr(store_module, "_CHUNK_BYTES", chunk_bytes)
    store = write_store(tmp_path / "s", batches(), METADATA)
    np.testing.assert_array_equal(
        store.read("eeg", np.arange(40)), made.read("eeg", np.arange(40))
    )
    assert store.content_sha256 == made.content_sha256
    assert store.hash == made.hash


def test_batch_sizes_change_nothing(tmp_path, made):
    def single():
        for batch in batches():
            for i in range(5):
                arrays = {key: values[i : i + 1] for key, values in batch.arrays.items()}
                yield WindowBatch(
                    arrays, batch.labels[i : i + 1], batch.subject, batch.recording, batch.split
                )

    store = write_store(tmp_path / "s", single(), METADATA)
    assert store.content_sha256 == made.content_sha256
    np.testing.assert_array_equal(store.recordings, made.recordings)


def test_hash_follows_inputs_and_nothing_else(tmp_path, made):
    reordered = dict(reversed(METADATA.items()))
    assert inputs_hash(reordered) == made.inputs_hash == made.hash
    golden = "06a87d7dbe7bb674a8137dd97fd814f78d37c754654d4022cfc8f6d012710dbf"
    assert made.hash == golden  # on any machine
    for key, value in (("step_s", 5.0), ("sources", {"a.edf": "00fe"}), ("dataset", "t")):
        assert inputs_hash(METADATA | {key: value}) != made.hash


def test_without_sources_the_samples_enter_the_hash(tmp_path):
    simulated = METADATA | {"sources": {}}
    one = write_store(tmp_path / "one", batches(seed=0), simulated)
    same = write_store(tmp_path / "same", batches(seed=0), simulated)
    other = write_store(tmp_path / "other", batches(seed=1), simulated)
    assert one.hash == same.hash != other.hash
    assert one.inputs_hash == other.inputs_hash == inputs_hash(simulated)


def test_memory_is_bounded_by_a_batch(tmp_path):
    window = 100_000  # 0.4 MB as float32

    def many():
        for i in range(60):
            for label in (0, 1):
                yield WindowBatch(
                    {"eeg": np.full((1, window), i, np.float32)},
                    np.array([label]),
                    "s",
                    f"r{i}",
                    "train",
                )

    tracemalloc.start()
    store = write_store(tmp_path / "s", many(), METADATA)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.num_windows == 120  # 48 MB in all
    assert peak < 12e6


def test_failure_on_the_way_leaves_nothing(tmp_path):
    def failing():
        yield from list(batches())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "s", failing(), METADATA)
    assert list(tmp_path.iterdir()) == []


def test_failure_of_the_source_is_not_blamed_on_the_store(tmp_path):
    def failing():
        yield next(batches())
        raise PermissionError("a.edf")

    with pytest.raises(PermissionError, match=r"a\.edf"):
        write_store(tmp_path / "s", failing(), METADATA)


def test_unfinished_folder_of_a_killed_run_is_no_store(tmp_path, made):
    killed = tmp_path / "killed"
    shutil.copytree(made.path, killed)
    (killed / "metadata.json").unlink()
    with pytest.raises(InputError, match="killed is no window store"):
        WindowStore.open(killed)


def test_existing_folder_is_never_overwritten(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_store(tmp_path / "s", batches(), METADATA)
    assert (tmp_path / "s" / "thesis.txt").read_text() == "mine"


def _files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_every_missing_or_shortened_file_is_noticed(tmp_path, made):
    names = _files(made.path)
    assert len(names) > 10
    for name in names:
        for damage in ("missing", "short"):
            copy = tmp_path / "copy"
            shutil.copytree(made.path, copy)
            file = copy / name
            if damage == "missing":
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[:-1])
            with pytest.raises(InputError, match="copy"):
                WindowStore.open(copy)
            shutil.rmtree(copy)


def test_windows_of_zeros_have_files_too(tmp_path):
    store = write_store(tmp_path / "s", batches(zero=True), METADATA)
    assert any(name.startswith("eeg/0") for name in _files(store.path))
    assert not store.read("eeg", np.arange(40)).any()


@pytest.mark.parametrize(
    "text",
    ["[]", '{"format": "zarr"}', "null", '{"format": "jaxbridge window store", "version": 1}'],
)
def test_foreign_metadata(tmp_path, text):
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(InputError, match=str(tmp_path)):
        WindowStore.open(tmp_path)


def test_other_version_and_missing_folder(tmp_path, made):
    copy = tmp_path / "copy"
    shutil.copytree(made.path, copy)
    record = json.loads((copy / "metadata.json").read_text())
    (copy / "metadata.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(InputError, match="version 99.*Prepare it again"):
        WindowStore.open(copy)
    with pytest.raises(InputError, match="no window store at"):
        WindowStore.open(tmp_path / "gone")


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*Give a folder"):
        write_store(tmp_path / "file" / "s", batches(), METADATA)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        write_store(tmp_path / "s", batches(), METADATA)


def _one(arrays=None, labels=(0, 1), recording="r9", split="train"):
    arrays = {"eeg": np.ones((2, 4))} if arrays is None else arrays
    return WindowBatch(arrays, np.array(labels), "s9", recording, split)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "No windows"),
        ([_one({"eeg": np.full((2, 4), np.nan)})], "r9: window 0 of eeg has NaN"),
        ([_one({"eeg": np.array([[1.0], [np.inf]])})], "r9: window 1 of eeg"),
        ([_one(), _one({"eeg": np.ones((2, 5))})], r"r9: .*\(5,\).*\(4,\)"),
        ([_one(), _one({"ecg": np.ones((2, 4))})], r"r9 has modalities \['ecg'\]"),
        ([_one({"eeg": np.ones((3, 4))})], "r9: 3 windows of eeg and 2 labels"),
        ([_one(labels=(0, 2))], "r9: labels 0 to 2, but there are 2 classes"),
        ([_one(labels=(-1, 0))], "r9: labels -1 to 0"),
        ([_one({"label": np.ones((2, 4))})], "cannot be called 'label'"),
        ([_one({"../x": np.ones((2, 4))})], r"cannot be called '\.\./x'"),
        ([_one(), _one(labels=(1, 1), split="val")], "'rest' has no window in split 'val'"),
    ],
)
def test_bad_windows_leave_nothing(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        write_store(tmp_path / "s", given, METADATA)
    assert list(tmp_path.iterdir()) == []


def test_class_may_be_absent_from_the_unlabelled_pairs(tmp_path):
    store = write_store(tmp_path / "s", [_one(), _one(labels=(1, 1), split="pair")], METADATA)
    assert store.num_windows == 4


def test_finished_store_of_the_same_inputs_is_not_written_again(tmp_path):
    path = tmp_path / "s"
    path.mkdir()  # an empty folder is as good as none
    first, written = ensure_store(path, METADATA, batches)
    assert written
    times = {name: (path / name).stat().st_mtime_ns for name in _files(path)}

    def never():
        raise AssertionError("windows were computed again")

    again, written = ensure_store(path, METADATA, never)
    assert not written
    assert again.hash == first.hash
    assert times == {name: (path / name).stat().st_mtime_ns for name in _files(path)}
    with pytest.raises(InputError, match=r"other inputs \(different: step_s, window_s\)"):
        ensure_store(path, METADATA | {"step_s": 5.0, "window_s": 5.0}, never)
    assert WindowStore.open(path).num_windows == 40
