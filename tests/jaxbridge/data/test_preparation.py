"""Preparation: the same store whoever reads it, nothing lost by a kill or a bad recording."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from jaxbridge.data.preparation import prepare
from jaxbridge.data.splits import SplitRule, kept_pairs
from jaxbridge.data.store import WindowBatch, WindowStore
from jaxbridge.data.worker_pool import WorkerPool
from model_ports.errors import InputError
from tests.jaxbridge.data.toy_dataset import Toy, write_toy

ROOT = Path(__file__).parents[3]
NAMES = [f"S{i}_{part}" for i in range(6) for part in "ab"]
RULE = SplitRule({"train": 2, "val": 1, "pair": 2, "test": 1})


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "files", NAMES)
    return Toy(tmp_path / "files", tmp_path / "log")


def _bytes(store):
    """Every file of a store but the list of sizes, which has no order."""
    files = sorted(p for p in store.path.rglob("*") if p.is_file() and p.name != "metadata.json")
    return {p.relative_to(store.path).as_posix(): p.read_bytes() for p in files}


def test_workers_and_listing_order_change_no_bit(toy, tmp_path):
    one, written = prepare(tmp_path / "one", toy, RULE)
    assert written
    shuffled = tmp_path / "elsewhere"
    write_toy(shuffled, NAMES[::-1])
    two, _ = prepare(tmp_path / "two", Toy(shuffled, tmp_path / "log2"), RULE, workers=2)
    assert two.hash == one.hash
    assert _bytes(two) == _bytes(one)
    values = np.load(toy.folder / "S3_b.npy") @ np.random.default_rng(0).normal(size=(50, 50))
    chosen = one.recordings == "S3_b"
    np.testing.assert_allclose(one.read("eeg", np.flatnonzero(chosen)), values, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(one.start_s[chosen], np.arange(6))
    assert list(tmp_path.glob(".*")) == []


def test_hash_follows_files_settings_and_split(toy, tmp_path):
    first, _ = prepare(tmp_path / "first", toy, RULE)
    hashes = {first.hash}
    for i, rule in enumerate((
        SplitRule(RULE.sizes, seed=1), SplitRule(RULE.sizes, "recording"),
        SplitRule(RULE.sizes, pair_fraction=0.5), SplitRule({"train": 2, "test": 1}),
        SplitRule({"train": 0.5, "test": 0.5}, "time_block"),
        SplitRule({"train": 0.5, "test": 0.5}, "time_block", guard_s=0.5),
    )):
        hashes.add(prepare(tmp_path / f"rule{i}", toy, rule)[0].hash)
    hashes.add(prepare(tmp_path / "skip", toy, RULE, skip=["S0_a"])[0].hash)
    body = bytearray((toy.folder / "S1_a.npy").read_bytes())
    body[-1] ^= 1
    (toy.folder / "S1_a.npy").write_bytes(body)
    hashes.add(prepare(tmp_path / "bit", toy, RULE)[0].hash)
    assert len(hashes) == 9


def test_second_run_reads_nothing(toy, tmp_path):
    first, _ = prepare(tmp_path / "s", toy, RULE)
    before = toy.log.read_text()
    again, written = prepare(tmp_path / "s", toy, RULE, workers=2)
    assert not written
    assert again.hash == first.hash
    assert toy.log.read_text() == before
    with pytest.raises(InputError, match=r"other inputs \(different: split\)"):
        prepare(tmp_path / "s", toy, SplitRule(RULE.sizes, seed=1))


@pytest.mark.parametrize("rule", ["subject", "recording", "time_block", "paper"])
def test_order_of_the_sizes_decides_nothing(tmp_path, toy, rule):
    """A store's hash does not tell it, so what was made for one order would be taken for another's."""
    sizes = {"train": 0.34, "pair": 0.33, "test": 0.33}
    guard = {"guard_s": 0.0} if rule == "time_block" else {}
    one, other = (
        prepare(tmp_path / name, toy, SplitRule(given, rule, **guard))[0]
        for name, given in (("one", sizes), ("other", dict(reversed(sizes.items()))))
    )
    assert one.hash == other.hash
    assert one.splits.tolist() == other.splits.tolist()
    assert one.content_sha256 == other.content_sha256


def test_workers_are_light_and_single_threaded(toy, tmp_path):
    prepare(tmp_path / "s", toy, RULE, workers=2)
    lines = toy.log_lines()
    assert sorted(name for name, *_ in lines) == NAMES
    assert {threads for _, _, threads, _ in lines} == {"1"}
    assert {heavy for *_, heavy in lines} == {""}
    assert str(os.getpid()) not in {pid for _, pid, *_ in lines}


def test_a_bad_recording_costs_no_other(toy, tmp_path, caplog):
    good = (toy.folder / "S2_b.npy").read_bytes()
    (toy.folder / "S2_b.npy").write_bytes(good[:-5])
    np.save(toy.folder / "S4_a.npy", np.zeros(3))
    for workers in (2, 0):
        with pytest.raises(InputError, match=r"--skip=\S*S2_b") as raised:
            prepare(tmp_path / "s", toy, RULE, workers=workers)
        assert "S4_a" in str(raised.value)
        assert "S2_b.npy is damaged" in caplog.text
        assert "S4_a: RuntimeError: not thought of" in caplog.text
        assert not (tmp_path / "s").exists()
    lines = [name for name, *_ in toy.log_lines()]
    assert sorted(lines) == sorted(set(NAMES) - {"S2_b", "S4_a"})  # the second run read none again
    (toy.folder / "S2_b.npy").write_bytes(good)
    store, _ = prepare(tmp_path / "s", toy, RULE, skip=["S4_a"])
    assert [name for name, *_ in toy.log_lines()] == [*lines, "S2_b"]
    assert set(store.recordings) == set(NAMES) - {"S4_a"}
    assert store.metadata["skipped"] == ["S4_a"]
    assert "S4_a.npy" not in store.sources
    whole = tmp_path / "whole"
    write_toy(whole, sorted(set(NAMES) - {"S4_a"}))
    clean, _ = prepare(tmp_path / "clean", Toy(whole, tmp_path / "log2"), RULE)
    assert clean.content_sha256 == store.content_sha256


def test_a_killed_worker_is_named_and_the_rest_goes_on(toy, tmp_path):
    fatal = Toy(toy.folder, toy.log, kills_worker=("S1_a",))
    with pytest.raises(InputError, match=r"S1_a: the worker process ended.*memory"):
        prepare(tmp_path / "s", fatal, RULE, workers=2)
    assert len(toy.log_lines()) == len(NAMES) - 1
    prepare(tmp_path / "s", toy, RULE, workers=2)
    assert len(toy.log_lines()) == len(NAMES)


def test_many_bad_recordings_end_early_and_leave_nothing(tmp_path):
    write_toy(tmp_path / "files", [])
    for name in NAMES:
        np.save(tmp_path / "files" / f"{name}.npy", np.full((2, 3, 50), np.nan))
    toy = Toy(tmp_path / "files", tmp_path / "log")
    with pytest.raises(InputError, match=r"S0_a: window 0 of eeg has NaN.*S0_b, S1_a, S1_b, S2_a\)"):
        prepare(tmp_path / "s", toy, RULE)
    assert len(toy.log_lines()) == 5
    assert not list(tmp_path.glob(".*"))


def test_killed_at_any_moment_it_goes_on(toy, tmp_path):
    out, fatal = tmp_path / "s", ("S0_a", "S2_b", "S3_a", "S5_b")
    script = f"""
        import os
        from pathlib import Path
        from jaxbridge.data.preparation import prepare
        from jaxbridge.data.splits import SplitRule
        from tests.jaxbridge.data.toy_dataset import Toy
        toy = Toy(
            Path({str(toy.folder)!r}), Path({str(toy.log)!r}), kills_parent={fatal!r},
            parent=os.getpid(),
        )
        prepare({str(out)!r}, toy, SplitRule({RULE.sizes!r}), workers=2)
        """
    kills = 0
    command = [sys.executable, "-c", textwrap.dedent(script)]
    while (code := subprocess.run(command, cwd=ROOT, check=False).returncode) != 0:
        assert code == -signal.SIGKILL
        assert not out.exists()
        kills += 1
    assert kills >= 2  # two may fall together
    # Recordings that were under way may be read twice, those that were finished are not.
    read = [name for name, *_ in toy.log_lines()]
    assert set(read) == set(NAMES)
    assert len(read) <= len(NAMES) + 2 * kills
    clean, _ = prepare(tmp_path / "clean", toy, RULE)
    assert _bytes(WindowStore.open(out)) == _bytes(clean)
    assert not list(tmp_path.glob(".*"))


def test_two_runs_at_once_and_foreign_folders_are_refused(toy, tmp_path):
    (tmp_path / ".s.parts").mkdir()
    with (tmp_path / ".s.parts" / "lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="being prepared by another process"):
            prepare(tmp_path / "s", toy, RULE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="exists already"):
        prepare(tmp_path / "mine", toy, RULE)
    with pytest.raises(InputError, match="no recording S9_z to skip.*S0_a, S0_b"):
        prepare(tmp_path / "s", toy, RULE, skip=["S9_z"])
    assert not toy.log.exists()


def test_recordings_without_a_split_are_not_read(toy, tmp_path):
    rule = SplitRule({"train": 1, "test": 1})
    store, _ = prepare(tmp_path / "s", toy, rule)
    assert len(toy.log_lines()) == 4
    assert {name for name, *_ in toy.log_lines()} == set(store.recordings)


def test_report_and_order_in_the_store(toy, tmp_path):
    rule = SplitRule({"train": 0.4, "test": 0.4}, "time_block", guard_s=0.0)
    store, _ = prepare(tmp_path / "s", toy, rule)
    assert store.split_report["windows"] == {
        name: len(store.indices(name)) for name in ("train", "test")
    }
    assert store.split_report["subjects"]["test"] == [f"S{i}" for i in range(6)]
    assert store.split_report["overlap"] == {"test": 0.0}
    for name in NAMES:  # split by split, in time order, and nothing without a split
        chosen = store.recordings == name
        for split in ("train", "test"):
            assert np.all(np.diff(store.start_s[chosen & (store.splits == split)]) > 0)
        assert list(dict.fromkeys(store.splits[chosen])) in (["train", "test"], ["train"], ["test"])
    assert set(store.splits) == {"train", "test"}


def test_papers_rule_tells_the_overlap(toy, tmp_path, caplog):
    sizes = {"train": 1 / 3, "val": 1 / 9, "pair": 1 / 3, "test": 2 / 9}
    store, _ = prepare(tmp_path / "s", toy, SplitRule(sizes, "paper"))
    overlap = store.split_report["overlap"]
    assert 0.5 < overlap["test"] <= 1
    assert f"{100 * overlap['test']:.1f} % of the test windows" in caplog.text
    starts = {(r, s): split for r, s, split in zip(
        store.recordings, store.start_s, store.splits, strict=True)}
    test = [key for key, split in starts.items() if split == "test"]
    seen = [any(starts.get((r, s + d)) in ("train", "pair") for d in (-1, 1)) for r, s in test]
    assert overlap["test"] == pytest.approx(np.mean(seen))


def test_pair_fraction_is_the_same_before_and_after(toy, tmp_path):
    whole, _ = prepare(tmp_path / "whole", toy, RULE)
    part, _ = prepare(tmp_path / "part", toy, SplitRule(RULE.sizes, pair_fraction=0.4))
    kept = kept_pairs(whole, 0.4)
    assert len(kept) == round(0.4 * 24)
    np.testing.assert_array_equal(
        whole.read("eeg", kept), part.read("eeg", part.indices("pair"))
    )
    for split in ("train", "val", "test"):
        assert len(whole.indices(split)) == len(part.indices(split))


class _Big:
    """Recordings of 40 MB."""

    metadata = {  # noqa: RUF012
        "class_names": ["one"], "window_s": 1.0, "step_s": 1.0, "sources": {}, "modalities": {},
    }
    recordings = {f"r{i}": f"r{i}" for i in range(8)}  # noqa: RUF012

    def sources_of(self, recording):
        return ()

    def windows(self, recording):
        arrays = {"eeg": np.full((100, 100_000), int(recording[1]), np.float32)}
        return WindowBatch(arrays, np.zeros(100, int), recording, recording)


def test_memory_is_bounded_by_a_recording(tmp_path):
    tracemalloc.start()
    store, _ = prepare(tmp_path / "s", _Big(), SplitRule({"train": 4, "test": 4}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.num_windows == 800  # 320 MB
    assert peak < 180e6
    assert np.isnan(store.start_s).all()


def test_rules_that_need_times_say_so(tmp_path):
    with pytest.raises(InputError, match="needs the start time.*r0"):
        prepare(tmp_path / "s", _Big(), SplitRule({"train": 0.5, "test": 0.5}, "time_block"))


class _Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_cannot_begin():
    for preload, work in ((_Deadly(), len), (None, _Deadly())):
        with (
            pytest.raises(InputError, match="exit code 3 as it began.*workers=0"),
            WorkerPool(2, preload) as pool,
        ):
            list(pool.run(work, ["one", "two"]))


def _end_template(task):
    os.kill(os.getppid(), signal.SIGKILL)


def test_when_no_more_workers_can_be_started():
    """A worker does 16 tasks."""
    tasks = [str(i) for i in range(17)]
    with WorkerPool(1) as pool:
        assert list(pool.run(len, tasks)) == [(task, None) for task in tasks]
    with pytest.raises(InputError, match="starts workers ended"), WorkerPool(1) as pool:
        list(pool.run(_end_template, tasks))


def test_a_data_set_that_cannot_be_sent(tmp_path):
    local = type("Local", (_Big,), {})
    with pytest.raises(InputError, match="workers=0"):
        prepare(tmp_path / "s", local(), SplitRule({"train": 4, "test": 4}), workers=1)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local())
