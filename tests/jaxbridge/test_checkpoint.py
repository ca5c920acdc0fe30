import pathlib
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

from jaxbridge.bridge import PrototypeBridge
from jaxbridge.checkpoint import restore_module, save_module
from model_ports.errors import InputError


def _bridge(seed: int, rank: int = 2) -> PrototypeBridge:
    return PrototypeBridge(4, 3, 5, rank=rank, num_prototypes=2, rngs=nnx.Rngs(seed))


_FULL = """
import resource, sys
from jaxbridge.checkpoint import save_module
from model_ports.errors import InputError
from tests.jaxbridge.test_checkpoint import _bridge
bridge = _bridge(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    save_module(sys.argv[1], bridge)
except InputError as error:
    print(error)
    sys.exit(2)
"""


def test_a_full_disk_is_one_clear_error(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "c")], capture_output=True, text=True,
        cwd=pathlib.Path(__file__).parents[2], check=False,
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert f"the checkpoint at {tmp_path / 'c'} cannot be written (" in ended.stdout
    assert "Make space" in ended.stdout


def test_round_trip(tmp_path):
    saved, target = _bridge(0), _bridge(1)
    save_module(tmp_path / "c", saved)
    restore_module(tmp_path / "c", target)
    for name in ("low_rank_a", "low_rank_b", "prototypes"):
        np.testing.assert_array_equal(getattr(target, name)[...], getattr(saved, name)[...])


def test_another_module_is_refused(tmp_path):
    save_module(tmp_path / "c", _bridge(0))
    with pytest.raises(InputError, match="damaged or of another module"):
        restore_module(tmp_path / "c", _bridge(0, rank=3))
    with pytest.raises(InputError, match="damaged or of another module"):
        restore_module(tmp_path / "c", nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


def test_absent_and_damaged_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match="no checkpoint at"):
        restore_module(tmp_path / "c", _bridge(0))
    save_module(tmp_path / "c", _bridge(0))
    for path in (tmp_path / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(InputError, match="damaged or of another module .its list of arrays cannot be"):
        restore_module(tmp_path / "c", _bridge(0))


def test_damaged_metadata_is_named_in_words(tmp_path):
    save_module(tmp_path / "c", _bridge(0))
    (tmp_path / "c" / "_METADATA").write_text("{]")
    with pytest.raises(InputError, match="its list of arrays cannot be read.*--rerun"):
        restore_module(tmp_path / "c", _bridge(0))
