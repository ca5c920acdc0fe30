"""What is saved comes back to the bit; damage, other settings and full disks are told apart."""

import json
import logging
import pathlib
import resource
import signal
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxbridge.training.checkpoints import TrainingCheckpoints
from model_ports.errors import InputError
from tests.jaxbridge.training import interrupted

_REPOSITORY = pathlib.Path(__file__).parents[3]


def _arrays(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {
        "[0]['w']": rng.standard_normal((7, 3)).astype(np.float32),
        "[1].count": np.array(step, np.int32),
    }


def _filled(folder, **kwargs) -> TrainingCheckpoints:
    kept = TrainingCheckpoints(folder, {"rank": 3}, every=5, **kwargs)
    for step, loss in ((5, 3.0), (10, 1.0), (15, 2.0), (20, 4.0)):
        kept.save(step, _arrays(step), {"at": step}, val_loss=loss)
    kept.close()
    return TrainingCheckpoints(folder, {"rank": 3}, every=5, **kwargs)


def test_the_latest_comes_back_and_the_best_is_kept(tmp_path):
    kept = _filled(tmp_path / "c")
    step, arrays, record = kept.latest()
    assert (step, record) == (20, {"at": 20})
    for name, value in _arrays(20).items():
        assert arrays[name].dtype == value.dtype and arrays[name].shape == value.shape
        assert arrays[name].tobytes() == value.tobytes()
    steps = {p.name for p in (tmp_path / "c").iterdir() if p.name.isdigit()}
    assert steps == {"10", "15", "20"}  # the best and the last two


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "commit" not in p.name]


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    _filled(tmp_path / "c").close()
    for file in _files(tmp_path / "c" / "20" / "arrays"):
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    with caplog.at_level(logging.WARNING, "jaxbridge"):
        step, arrays, _ = TrainingCheckpoints(tmp_path / "c", {"rank": 3}).latest()
    assert step == 15
    assert arrays["[1].count"] == 15
    assert "checkpoint of step 20 is damaged" in caplog.text


def test_a_flipped_bit_is_noticed(tmp_path, caplog):
    """Every data file of the newest checkpoint is changed somewhere, sizes kept."""
    _filled(tmp_path / "c").close()
    for file in _files(tmp_path / "c" / "20" / "arrays"):
        if file.parent.name == "d":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
    with caplog.at_level(logging.WARNING, "jaxbridge"):
        assert TrainingCheckpoints(tmp_path / "c", {"rank": 3}).latest()[0] == 15
    assert "damaged" in caplog.text


def test_nothing_whole_is_none(tmp_path):
    assert TrainingCheckpoints(tmp_path / "c", {"rank": 3}).latest() is None


def test_what_a_kill_left_unfinished_is_removed(tmp_path):
    _filled(tmp_path / "c").close()
    left = tmp_path / "c" / f"25{ocp.path.step.TMP_DIR_SUFFIX}1700000000"  # as Orbax names it
    (left / "arrays").mkdir(parents=True)
    kept = TrainingCheckpoints(tmp_path / "c", {"rank": 3})
    assert not left.exists()
    assert kept.latest()[0] == 20
    kept.close()


def test_other_settings_are_refused_with_the_difference(tmp_path):
    _filled(tmp_path / "c").close()
    with pytest.raises(InputError, match="rank: 3 there, 4 now"):
        TrainingCheckpoints(tmp_path / "c", {"rank": 4})
    assert json.loads((tmp_path / "c" / "configuration.json").read_text()) == {"rank": 3}


_FULL = """
import resource, signal, sys, numpy as np
from jaxbridge.training.checkpoints import TrainingCheckpoints
from model_ports.errors import InputError
kept = TrainingCheckpoints(sys.argv[1], {}, every=1)
kept.save(1, {"w": np.zeros(1000)}, {})
kept.wait()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    kept.save(2, {"w": np.random.default_rng(0).standard_normal(1_000_000)}, {})
    kept.wait()
except InputError as error:
    print(error)
    sys.exit(2)
"""


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "c")], capture_output=True, text=True,
        cwd=_REPOSITORY,
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert "cannot be written" in ended.stdout and "Make space" in ended.stdout
    assert TrainingCheckpoints(tmp_path / "c", {}).latest()[0] == 1


def _run(folder, out, source, *signalled) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.jaxbridge.training.interrupted", str(folder), str(out), source,
         *map(str, signalled)],
        capture_output=True, text=True, cwd=_REPOSITORY,
    )


def _same_bits(one: pathlib.Path, other: pathlib.Path) -> None:
    with np.load(one) as a, np.load(other) as b:
        assert set(a) == set(b)
        for name in a:
            assert a[name].tobytes() == b[name].tobytes(), name
        assert len(a["curve"]) == interrupted.EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("source", ["placed", "streamed"])
def test_killed_ten_times_ends_with_the_same_bits(tmp_path, source):
    """SIGKILL at random moments: ten times with each kind of source, twenty in all."""
    assert _run(tmp_path / "whole", tmp_path / "whole.npz", source).returncode == 0
    rng = np.random.default_rng(11)
    for _ in range(10):
        # At most 6 of the 60 to 260 calls of a run, so that it is never done before the tenth.
        ended = _run(tmp_path / "broken", tmp_path / "broken.npz", source, rng.uniform(1, 6))
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert _run(tmp_path / "broken", tmp_path / "broken.npz", source).returncode == 0
    _same_bits(tmp_path / "whole.npz", tmp_path / "broken.npz")


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
    assert _run(tmp_path / "whole", tmp_path / "whole.npz", "placed").returncode == 0
    command = tmp_path / "broken", tmp_path / "broken.npz", "placed"
    ended = _run(*command, 7.5, int(signal.SIGTERM))
    assert ended.returncode == 143, ended.stderr[-2000:]
    assert "and saved; the same command goes on" in ended.stderr
    ended = _run(*command)
    assert ended.returncode == 0, ended.stderr[-2000:]
    _same_bits(tmp_path / "whole.npz", tmp_path / "broken.npz")
