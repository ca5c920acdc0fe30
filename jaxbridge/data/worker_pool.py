"""Worker processes for host work on many items: light, single-threaded, and gone with their parent.

A pool of the standard library would import the calling script in every worker (here JAX with it, and
twice where the script has no main guard), hang where a worker is killed, or leave workers behind when
the parent is. Here each worker is `python -m jaxbridge.data.worker_pool` and reads its tasks from a
pipe: the pipe's end is the worker's end.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from model_ports.errors import InputError

# A worker is replaced after so many tasks, so that no reader's leak adds up.
_TASKS = 16
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What reading from, or writing to, a process that ended raises.
_GONE = (BrokenPipeError, EOFError, pickle.UnpicklingError)
# glibc gives every large array back to the system, which then clears its pages anew: a third of the
# time of a recording's steps. Workers keep what they have until their end.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}


def run_tasks(
    work: Callable[[str], None], tasks: Sequence[str], workers: int
) -> Iterator[tuple[str, str | None]]:
    """Calls `work(task)` for each task in `workers` processes, each with one thread for BLAS.

    Closing the iterator kills the workers; so `work` must leave nothing half done that matters.

    Args:
        work: picklable, of a module that can be imported (not a script).
        tasks: its arguments.
        workers: processes, at least 1.

    Yields:
        (task, None or what went wrong), in the order in which tasks end.

    Raises:
        InputError: `work` cannot be sent to another process.
    """
    try:
        payload = pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(_unsendable(error)) from error
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for task in tasks:
        todo.put(task)
    done: queue.SimpleQueue[tuple[str, str | None] | BaseException] = queue.SimpleQueue()
    crew = _Crew(payload, todo, done)
    threads = [
        threading.Thread(target=crew.drive, daemon=True) for _ in range(min(workers, len(tasks)))
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            ended = done.get()
            if isinstance(ended, BaseException):
                raise ended
            yield ended
    finally:
        crew.stop()
        for thread in threads:
            thread.join()


class _Crew:
    """What the driving threads share: each drives one worker process at a time."""

    def __init__(self, payload: bytes, todo: queue.SimpleQueue, done: queue.SimpleQueue):
        self._payload, self._todo, self._done = payload, todo, done
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: set[subprocess.Popen] = set()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()

    def drive(self) -> None:
        try:
            while not self._stopped and not self._todo.empty():
                self._drive_one()
        except BaseException as error:
            self._done.put(error)

    def _drive_one(self) -> None:
        """Starts a worker, gives it tasks, and waits for its end."""
        with self._lock:
            if self._stopped:
                return
            process = _start()
            self._processes.add(process)
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self._payload)
                process.stdin.flush()
            try:
                trouble = _answer(process)
            except _GONE:
                trouble = f"the process ended with exit code {process.wait()} as it began"
            if trouble is not None:
                raise InputError(_unsendable(trouble))
            for _ in range(_TASKS):
                try:
                    task = self._todo.get_nowait()
                except queue.Empty:
                    return
                if not self._give(process, task):
                    return
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
            process.stdout.close()
            with self._lock:
                self._processes.discard(process)

    def _give(self, process: subprocess.Popen, task: str) -> bool:
        """Returns whether the worker is still there after this task."""
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            self._done.put((task, _answer(process)))
        except _GONE:
            code = process.wait()
            self._done.put((
                task, f"{task}: the worker process ended with exit code {code}"
                + (" (killed, perhaps for lack of memory: use fewer workers)" if code < 0 else ""),
            ))
            return False
        return True


def _start() -> subprocess.Popen:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {
        **os.environ, **dict.fromkeys(_ONE_THREAD, "1"), **_KEEP_MEMORY, "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",  # a reader that uses JAX leaves accelerators to the parent
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )


def _answer(process: subprocess.Popen) -> Any:
    return pickle.load(process.stdout)


def _unsendable(why: object) -> str:
    return (
        f"the data set cannot be sent to worker processes ({why}). Define it in a module that can be "
        "imported, or prepare without workers (workers=0)."
    )


def serve() -> None:
    """The worker's side: reads `work`, then tasks, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what readers print is no answer

    def answer(text: str | None) -> None:
        pickle.dump(text, answers)
        answers.flush()

    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            work = pickle.load(sys.stdin.buffer)
        except Exception as error:
            answer(f"{type(error).__name__}: {error}")
            return
        answer(None)
        while True:
            task = pickle.load(sys.stdin.buffer)
            answer(failure(work, task))


def failure(work: Callable[[str], None], task: str) -> str | None:
    """Calls `work(task)`; returns what went wrong, naming the task, or None."""
    try:
        work(task)
    except InputError as error:
        return str(error) if task in str(error) else f"{task}: {error}"
    except Exception as error:
        traceback.print_exc()
        return f"{task}: {type(error).__name__}: {error}"
    return None
