"""What the folds of a direction are pooled from."""

import numpy as np
import pytest

from jaxbridge.data.memory import ArrayWindows
from launch.published.directions import direction
from launch.published.reproduction import Reproduction
from model_ports.errors import InputError


@pytest.mark.parametrize(("content", "told"), [(None, "missing"), (b"PK short", "damaged")])
def test_predictions_of_a_finished_fold_that_cannot_be_read_are_named(
    tmp_path, monkeypatch, content, told
):
    people = np.repeat([f"P{i}" for i in range(8)], 2)
    windows = ArrayWindows(
        {"eeg": np.zeros((16, 3))}, np.arange(16) % 2, np.full(16, "pair"), ("rest", "task"), people
    )

    def transferred(self, windows, seed, out):
        (out / "report").mkdir(parents=True)
        if content is not None:
            (out / "report" / "predictions.npz").write_bytes(content)
        return []

    monkeypatch.setattr(Reproduction, "_all_windows", lambda self: windows)
    monkeypatch.setattr(Reproduction, "_transferred", transferred)
    study = Reproduction(
        direction=direction("eegmat_eeg2ecg"), data="x", checkpoints=None, out=tmp_path
    )
    file = tmp_path / "seed_0" / "fold_0" / "run" / "report" / "predictions.npz"
    with pytest.raises(InputError, match=f"{file} is {told}; .*--rerun.*another folder"):
        study.folds(0, 2)
