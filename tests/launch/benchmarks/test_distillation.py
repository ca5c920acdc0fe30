"""What the distillation benchmark makes of what its workers tell, and the positions of variants."""

import pytest

from launch.benchmarks import distillation
from launch.benchmarks.timing import Seconds
from launch.published.directions import DIRECTIONS, VARIANTS, placed
from model_ports.errors import InputError


def test_both_methods_carry_their_share_of_the_capture():
    epochs = DIRECTIONS["wesad_ppg2ecg"].bridge.epochs
    found = {
        "bridge step": [Seconds(1.0, 2.0)] * 2,
        "bridge capture": [Seconds(1.0 * epochs, 2.0 * epochs)] * 2,
        "KD step": [Seconds(5.0, 6.0), Seconds(7.0, 14.0)],
        "KD capture": [Seconds(1.0 * epochs, 2.0 * epochs)] * 2,
    }
    loaded = {
        "bridge": {"parameters": 10, "peak": 2**30, "gflop": 0.5, "mb": 50.0},
        "KD": {"parameters": 1000, "peak": 2**31, "gflop": 5.0, "mb": 500.0},
    }
    row = distillation.row("wesad_ppg2ecg", 16, loaded, found)
    assert (row.step_s, row.step_cpu_s, row.kd_step_s) == (2.0, 4.0, 7.0)
    assert row.times_faster == pytest.approx(3.5)  # of 6/2 and 8/2
    assert row.times_faster_cpu == pytest.approx(3.0)  # of 8/4 and 16/4
    assert (row.times_smaller, row.kd_peak_mb) == (10.0, 2048)
    table = distillation.table({"rows": [vars(row)], "machine": "two cores"})
    assert "| wesad_ppg2ecg | 16 | 10 | 1,000 | 2.000 | 7.000 | 3.5 |" in table


def test_a_variant_without_a_published_position_gets_the_middle_layer():
    chosen = placed("wesad_ppg2ecg_ecg_fm")
    assert chosen.position == (6, DIRECTIONS["wesad_ppg2ecg"].position.l)
    assert VARIANTS["wesad_ppg2ecg_ecg_fm"].position is None
    assert placed("isruc_eeg2ecg") is DIRECTIONS["isruc_eeg2ecg"]
    with pytest.raises(InputError, match="another old encoder"):
        placed("wesad_ecg2ppg_ecg_fm")
    with pytest.raises(InputError, match="no position is published for eegmat"):
        placed("eegmat_eeg2ecg")


def test_every_case_has_its_signals():
    for name in distillation.CASES:
        chosen = placed(name)
        assert chosen.position is not None and chosen.new_signal and chosen.old_signal
