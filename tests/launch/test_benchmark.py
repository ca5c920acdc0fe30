"""The benchmark's arithmetic, its flags, and one encoder measured for real."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.benchmarks import encoders, timing
from launch.benchmarks.timing import Seconds

ROOT = Path(__file__).parents[2]


def benchmark(*flags):
    return subprocess.run(
        [sys.executable, "-m", "launch.benchmark", *flags], cwd=ROOT, capture_output=True, text=True,
        check=False, env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    )


def test_duration_is_the_difference_of_both_clocks():
    ticks = iter([Seconds(10.0, 3.0), Seconds(12.5, 7.0)])
    assert timing.timed(lambda: None, clock=lambda: next(ticks)) == (2.5, 4.0)


def test_calls_alternate_and_the_budget_ends_them():
    order = []

    def call(name, wall):
        return lambda: order.append(name) or Seconds(wall, 1.0)

    calls = {"a": call("a", 1.0), "b": call("b", 2.0)}
    found = timing.alternate(calls, rounds=10, budget_s=8.0)
    assert order == ["a", "b"] * 3
    assert found == {"a": [(1.0, 1.0)] * 3, "b": [(2.0, 1.0)] * 3}
    assert len(timing.alternate(calls, rounds=10, budget_s=0.0)["a"]) == 2
    assert len(timing.alternate(calls, rounds=1, budget_s=0.0)["a"]) == 1


def test_ratio_is_the_median_of_pairs_not_the_ratio_of_medians():
    # The machine is four times slower in the second round and ten times in the third.
    ours = [Seconds(1.0, 1.0), Seconds(4.0, 1.0), Seconds(10.0, 1.0)]
    theirs = [Seconds(2.0, 4.0), Seconds(8.0, 5.0), Seconds(2.0, 2.0)]
    assert timing.ratio(ours, theirs) == (0.5, 0.25)
    assert timing.median(ours).wall / timing.median(theirs).wall == 2.0


def row(batch, jax_wall_s, torch_wall_s=None):
    return encoders.Row(
        model="m", what="embed", batch=batch, rounds=2, jax_wall_s=jax_wall_s, jax_cpu_s=1.0,
        jax_windows_per_s=1.0, compile_s=1.0, jax_peak_mb=1.0, torch_wall_s=torch_wall_s,
    )


@pytest.mark.parametrize(("wanted", "done", "batch"), [
    (64, {}, 64),
    (64, {16: row(16, 1.0)}, 64),
    (64, {16: row(16, 1.0, 2.0)}, 64),
    (64, {16: row(16, 1.0, 4.0)}, 32),
    (64, {1: row(1, 0.1), 16: row(16, 8.0)}, 16),
    (16, {1: row(1, 30.0)}, 1),
])
def test_a_batch_that_would_take_too_long_is_shrunk(wanted, done, batch):
    assert encoders.fitting_batch(wanted, done, longest_s=10.0) == batch


@pytest.mark.slow
def test_one_encoder_without_a_reference(tmp_path):
    done = benchmark(
        "--what=encoders", "--models=labram", "--batches=2,1", "--repeats=2", "--threads=1",
        f"--out={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "encoders.json").read_text())
    rows = report["rows"]
    assert [(r["what"], r["batch"]) for r in rows] == [
        ("embed", 1), ("embed", 2), ("activations", 2)
    ]
    for r in rows:
        assert r["rounds"] == 2
        assert 0 < r["jax_wall_s"] < 60
        assert r["jax_windows_per_s"] == pytest.approx(r["batch"] / r["jax_wall_s"])
        assert 0 < r["compile_s"]
        assert 50 < r["jax_peak_mb"] < 5000
        assert r["torch_wall_s"] is None and r["wall_ratio"] is None
    assert report["models"]["labram"]["jax"]["layers"] == 12
    with (tmp_path / "encoders.csv").open() as file:
        assert [r["batch"] for r in csv.DictReader(file)] == ["1", "2", "2"]
    assert "cores" in done.stdout and "activations" in done.stdout


@pytest.mark.parametrize(("flags", "message"), [
    ((), "--what"),
    (("--what=weather",), "--what"),
    (("--what=encoders", "--models=labram,bert"), "bert"),
    (("--what=encoders", "--batches=0"), "--batches"),
    (("--what=encoders", "--reference=/nowhere"), "/nowhere"),
])
def test_wrong_flags_end_with_one_line_and_code_2(flags, message):
    done = benchmark(*flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_abstract_encoders_are_spread_over_the_devices():
    from launch.benchmarks import billion

    small = billion.Settings(depth=2, features=400, num_heads=10, seconds=2, batch=4, start=1)
    report = billion.run(small, lambda what: None)
    assert report["devices"] == 8
    # matrices are an eighth or a quarter each; norms, biases and tables are whole
    weights = 4 * report["parameters"]
    held = {layout: found["capture"]["arguments_bytes"] for layout, found in report["meshes"].items()}
    assert weights / 8 < held["1 x 8"] < weights / 5
    assert weights / 4 < held["2 x 4"] < weights / 3
    # half of the windows, so half of what lies between layers, or less
    whole, half = (found["step"]["temporary_bytes"] for found in report["meshes"].values())
    assert half < 0.6 * whole
    assert billion.table(report).count("\n") == 5


def test_a_scan_row_compares_scaled_medians():
    from launch.benchmarks import scan

    found = {"ours": [Seconds(1.0, 2.0), Seconds(2.0, 2.0)],
             "reference": [Seconds(3.0, 3.0), Seconds(4.0, 3.0)]}
    row = scan._row("probes", "12 layers", found, 12, 2**30, "one layer x 12")
    assert (row.ours_s, row.reference_s) == (1.5, 42.0)
    assert (row.times_faster, row.times_faster_cpu) == (30.0, 18.0)
    assert row.peak_mb == 1024
    assert "12 layers" in scan.TABLE.line(row) and "x 12" in scan.TABLE.line(row)


def test_one_representation_beside_matplotlib(tmp_path):
    from launch.benchmarks import representations

    settings = representations.Settings(batch=2, samples=300, rounds=2, threads=1)
    row = representations._row(settings, "recurrence")
    assert (row.representation, row.batch, row.samples, row.rounds) == ("recurrence", 2, 300, 2)
    assert 0 < row.ours_s < 60 and 0 < row.slow_s < 60
    report = {"machine": "here", "rows": [dataclasses.asdict(row)]}
    representations.write(report, tmp_path)
    assert "recurrence" in (tmp_path / "representations.csv").read_text()
    assert representations.table(report).endswith("here")
