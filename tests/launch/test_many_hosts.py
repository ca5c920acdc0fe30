"""Real processes under `jax.distributed`: the same result as one, and nothing lost with one."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxbridge import hosts
from jaxbridge.checkpoint import restore_module
from jaxbridge.features.store import FeatureStore
from jaxbridge.run_folder import read_curve, read_json
from jaxbridge.training.bridging import BridgeSettings, new_bridge
from jaxbridge.training.metric_log import read_log
from model_ports.errors import InputError
from tests.jaxbridge import tiny

_ROOT = pathlib.Path(__file__).parents[2]


class Ended(list):
    """(exit code, output) of each process."""

    codes = property(lambda self: [code for code, _ in self])


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Runs many_hosts.py in several processes at once; compiled programs are shared."""
    cache = tmp_path_factory.mktemp("compiled")

    def start(count: int, out: pathlib.Path, *flags: str, last: tuple[str, ...] = ()) -> Ended:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = {
            **os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        if count > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                            "JAX_NUM_PROCESSES": str(count)}
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.launch.many_hosts", f"--out={out}", *flags,
                 *(last if i == count - 1 else ())],
                cwd=_ROOT, env={**environment, "JAX_PROCESS_ID": str(i)}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
            for i in range(count)
        ]
        texts = [child.communicate(timeout=300)[0] for child in children]
        return Ended((c.returncode, text) for c, text in zip(children, texts, strict=True))

    return start


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    ended = launch(1, out)
    assert ended.codes == [0], ended[0][1]
    return out


@pytest.fixture(scope="module")
def pair(launch, tmp_path_factory):
    out = tmp_path_factory.mktemp("pair") / "run"
    ended = launch(2, out)
    assert ended.codes == [0, 0], "\n".join(text for _, text in ended)
    return out, ended


def _bridge(run: pathlib.Path):
    old, new = tiny.encoders()
    windows = tiny.windows()
    selection = read_json(run / "scan" / "selection.json")
    bridge = new_bridge(
        new, old, (selection["m"], selection["l"]),
        tuple((1, *windows.shape(name)) for name in ("ecg", "eeg")),
        BridgeSettings(rank=4, num_prototypes=6), seed=0,
    )
    restore_module(run / "bridge" / "checkpoint", bridge)
    return [np.asarray(x[...]) for x in (bridge.low_rank_a, bridge.low_rank_b, bridge.prototypes)]


def _features(run: pathlib.Path) -> np.ndarray:
    stores = read_json(run / "features" / "stores.json")
    return FeatureStore.open(run / "features" / stores["new"]).stack("outputs")


def _same_result(run: pathlib.Path, other: pathlib.Path) -> None:
    np.testing.assert_allclose(_features(run), _features(other), rtol=1e-5, atol=1e-6)
    for found, wanted in zip(_bridge(run), _bridge(other), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    curves = [read_curve(r / "bridge" / "curve.csv") for r in (run, other)]
    np.testing.assert_allclose(*curves, rtol=1e-5)
    metrics = [read_json(r / "report" / "metrics.json") for r in (run, other)]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(alone, pair):
    run, ended = pair
    _same_result(run, alone)
    # One talks, and each epoch is logged once.
    assert "bridge:" in ended[0][1] and "bridge:" not in ended[1][1]
    assert [row["epoch"] for row in read_log(run / "bridge" / "log.jsonl")] == list(range(1, 9))


@pytest.mark.slow
def test_four_processes_give_the_result_of_one(launch, alone, tmp_path):
    ended = launch(4, tmp_path / "run")
    assert ended.codes == [0] * 4, "\n".join(text for _, text in ended)
    _same_result(tmp_path / "run", alone)


@pytest.mark.slow
def test_a_lost_process_ends_the_others_and_a_restart_goes_on(launch, pair, tmp_path):
    run = tmp_path / "run"
    start = time.monotonic()
    ended = launch(2, run, "--die_after=4")
    assert time.monotonic() - start < 60 + 60  # the program itself included
    assert ended.codes[1] == -signal.SIGKILL
    assert ended.codes[0] not in (0, 2)
    assert "lost another" in ended[0][1] or "another task died" in ended[0][1], ended[0][1]
    # SIGTERM to one of them stops both at the same step.
    ended = launch(2, run, "--stop_after=9")
    assert ended.codes == [143, 143], "\n".join(text for _, text in ended)
    assert "going on after step" in ended[0][1]
    # It may be in what comes after the bridge: JAX looks for the signal once a second.
    assert "; the same command" in ended[0][1]
    ended = launch(2, run)
    assert ended.codes == [0, 0], "\n".join(text for _, text in ended)
    assert "features: done before, kept" in ended[0][1]
    for found, wanted in zip(_bridge(run), _bridge(pair[0]), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_a_fault_in_one_process_ends_the_others(launch, tmp_path):
    ended = launch(2, tmp_path / "run", "--fail_after=2")  # or they wait without end
    assert ended.codes[1] == 1 and "KeyError: 'a fault'" in ended[1][1]
    assert ended.codes[0] not in (0, 2)
    assert "lost another" in ended[0][1] or "another task died" in ended[0][1], ended[0][1]


@pytest.mark.slow
def test_targets_in_memory_give_the_result_of_targets_on_disk(launch, pair, tmp_path):
    run = tmp_path / "run"
    ended = launch(2, run, "--cache=host")
    assert ended.codes == [0, 0], "\n".join(text for _, text in ended)
    for found, wanted in zip(_bridge(run), _bridge(pair[0]), strict=True):  # whose targets are on disk
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_processes_of_different_commands_are_refused(launch, tmp_path):
    ended = launch(2, tmp_path / "run", last=("--epochs=3",))
    assert ended.codes[1] == 2 and ended.codes[0] != 0
    assert "process 1 has other settings or inputs than process 0" in ended[1][1]


@pytest.mark.parametrize(("environment", "several"), [
    ({}, False),
    ({"JAX_COORDINATOR_ADDRESS": "host:1"}, True),
    ({"SLURM_STEP_NUM_TASKS": "4"}, True),
    ({"SLURM_STEP_NUM_TASKS": "1"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
])
def test_the_launchers_variables_are_known(environment, several):
    assert hosts.asked_for(environment) == several


def test_a_wrong_variable_is_named():
    with pytest.raises(InputError, match="JAX_PROCESS_ID=x is no integer"):
        hosts.start({"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_PROCESS_ID": "x"})
