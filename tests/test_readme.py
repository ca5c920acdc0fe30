"""The Python examples of the README run as they stand."""

import pathlib
import re

import numpy as np
import pytest

from jaxbridge.data.simulation import Simulated
from jaxbridge.data.store import write_store

_README = pathlib.Path(__file__).parents[1] / "README.md"


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", _README.read_text(), flags=re.DOTALL)


@pytest.mark.slow
def test_transfer_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulated = Simulated(
        duration_s=20, window_s=2, sizes={"train": 2, "val": 1, "pair": 2, "test": 1}
    )
    write_store(
        tmp_path / "runs/quickstart/seed_0/windows", simulated.batches(), simulated.metadata
    )
    names: dict = {}
    exec(_examples()[0], names)
    assert names["logits"].shape == (20, 2)
    assert np.isfinite(names["logits"]).all()


def test_encoder_example(capsys):
    names: dict = {}
    exec(_examples()[1], names)
    assert capsys.readouterr().out == "(2, 200) (2, 200)\n"
    assert names["tokens"].shape == (2, 25, 200)
