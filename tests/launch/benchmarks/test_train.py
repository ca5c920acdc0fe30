"""What the train benchmark makes of what its workers and the compiler tell."""

import pytest

from launch.benchmarks import step_programs, train
from launch.benchmarks.timing import Seconds

LOADED = {"device": "cpu", "parameters": 712_000, "compile_s": 3.0, "flops": 1e9}


def test_the_capture_is_spread_over_the_published_epochs():
    case = train.Case(direction="wesad_ppg2ecg", batch=16, steps=8, reference_batch=16)
    found = {"step": [Seconds(0.1, 0.2), Seconds(0.3, 0.2)], "capture": [Seconds(5.0, 10.0)] * 2}
    row = train.row(case, LOADED, found, 2**30, None)
    assert row.amortised_s == pytest.approx(0.2 + 5.0 / 50)
    assert row.samples_per_s == pytest.approx(16 / 0.3)
    assert row.tflop_per_s == pytest.approx(16e9 / 0.2 / 1e12)  # of the step alone
    assert row.peak_mb == 1024
    assert row.times_faster is None and row.reference_step_s is None


def test_ratios_are_of_rounds_and_a_smaller_reference_batch_is_told():
    case = train.Case(direction="fog_emg2eeg", batch=16, steps=1, reference_batch=2)
    found = {
        "step": [Seconds(1.0, 2.0), Seconds(2.0, 2.0), Seconds(4.0, 2.0)],
        "capture": [Seconds(100.0, 100.0)] * 3,
        "reference": [Seconds(8.0, 9.0), Seconds(9.0, 9.0), Seconds(50.0, 9.0)],
    }
    row = train.row(case, LOADED, found, 2**30, 2**31)
    assert row.times_faster == pytest.approx(4.0)  # of 8/2, 9/3 and 50/5
    assert row.times_faster_cpu == pytest.approx(3.0)
    assert row.reference_peak_mb == 2048
    table = train.table({"rows": [vars(row)], "machine": "two cores"})
    first, rule, line, _, note, _, machine = table.splitlines()
    assert first.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| fog_emg2eeg* | 16 |") and note.startswith("* reference at batch 2")
    assert machine == "two cores"


def test_batches_asked_for_are_the_references_too():
    given = {"directions": ("isruc_eeg2ecg", "fog_emg2eeg")}
    assert [c.batch for c in train.cases(train.Settings(**given))] == [16, 2, 16]
    asked = train.cases(train.Settings(**given, batches=(4, 256)))
    assert [(c.direction, c.batch) for c in asked] == [
        ("isruc_eeg2ecg", 4), ("isruc_eeg2ecg", 256), ("fog_emg2eeg", 4), ("fog_emg2eeg", 256)
    ]
    assert all(c.reference_batch == c.batch for c in asked)


def test_collectives_are_counted_by_what_a_device_gets():
    program = """
      %a = f32[32,50]{1,0} all-reduce(%x), replica_groups={{0,1}}
      %b = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce(%y, %z), to_apply=%sum
      %c = f32[4]{0} add(%x, %x), metadata={op_name="all-reduce"}
    """
    assert step_programs.collective_bytes(program) == [4 * 1600, 4 * 8 + 2 * 6]


@pytest.mark.slow
def test_two_devices_share_a_step_in_halves():
    settings = step_programs.Settings(
        what="scaling", batch=8, directions=("wesad_ppg2ecg",), ecg_fm=False
    )
    report = step_programs.run(settings, lambda what: None)
    captured, rows = report["rows"][:4], report["rows"][4:]
    for r in captured:  # nothing passes between devices
        assert r["what"] == "capture, wesad_ppg2ecg" and not r["collectives"]
        assert r["share"] == pytest.approx(1 / r["devices"], rel=0.01)
    assert [r["devices"] for r in rows] == [1, 2, 4, 8]
    assert [r["collectives"] == 0 for r in rows] == [True, False, False, False]
    # gradients of the bridge and a few scalars, whatever the number of devices
    for r in rows[1:]:
        assert r["share"] < 1.1 / r["devices"] + 0.02
        assert 4 * 398_784 <= r["collective_mb"] * 2**20 < 4 * 398_784 + 1000
    assert step_programs.table(report).count("\n") == 9
