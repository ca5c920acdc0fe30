"""A process of its own for each system under measurement, asked over a pipe."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from model_ports.errors import InputError


class WorkerFailed(RuntimeError):
    """The worker process ended or could not do what it was asked."""


class Worker:
    """Starts `python -m module`, which must call `serve`, and asks it one thing at a time.

    Args:
        module: module to run.
        threads: CPU cores that the process may use.
    """

    def __init__(self, module: str, *, threads: int):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            # Threads that spin while they wait would take the other worker's cores.
            "OMP_WAIT_POLICY": "PASSIVE",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "BENCHMARK_THREADS": str(threads),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Returns the worker's answer.

        Raises:
            InputError: as raised in the worker.
            WorkerFailed: any other failure there.
        """
        try:
            self._process.stdin.write(json.dumps([verb, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerFailed(f"the worker ended with exit code {self._process.wait()}")
        kind, answer = json.loads(line)
        if kind == "input error":
            raise InputError(answer)
        if kind == "error":
            raise WorkerFailed(answer)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Answers the requests of a `Worker` until it closes the pipe."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[: int(os.environ.get("BENCHMARK_THREADS", "1"))]
        os.sched_setaffinity(0, cores)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what others print is no answer
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            answer = ["answer", verbs[verb](**arguments)]
        except InputError as error:
            answer = ["input error", str(error)]
        except Exception as error:
            answer = ["error", f"{type(error).__name__}: {error}"]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
