"""Worker processes for host work on many items: light, single-threaded, and gone with their parent.

A pool of the standard library would import the calling script in every worker (here JAX with it, and
twice where the script has no main guard), hang where a worker is killed, or leave workers behind when
the parent is. Here one process, the template, imports what the work needs and is forked into workers,
each of which reads its tasks from a socket: the socket's end is the worker's end.
"""

import collections
import contextlib
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import threadpoolctl

from model_ports.errors import InputError

# A worker is replaced after so many tasks, so that no reader's leak adds up.
_TASKS = 16
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What reading from, or writing to, a process that ended raises.
_GONE = (ConnectionError, EOFError, pickle.UnpicklingError)
# glibc gives every large array back to the system, which then clears its pages anew: a third of the
# time of a recording's steps. Workers keep what they have until their end.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
# Asks the template for a new worker (0) or for the exit code of one that ended (its process id).
_REQUEST = struct.Struct("<q")


class WorkerPool:
    """Calls a function in worker processes, each with one thread for BLAS; a context manager.

    Args:
        workers: processes at most; with 0 the caller's process does the work, with one thread, too.
        preload: picklable; the modules that it needs are imported from now on, in the background.

    Raises:
        InputError: `preload` cannot be sent to another process.
    """

    def __init__(self, workers: int, preload: object = None):
        self._workers = workers
        self._template = _Template(preload) if workers else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._template is not None:
            self._template.close()

    def run(
        self, work: Callable[[str], None], tasks: Sequence[str]
    ) -> Iterator[tuple[str, str | None]]:
        """Calls `work(task)` for each task; once per pool.

        Closing the iterator kills the workers; so `work` must leave nothing half done that matters.

        Args:
            work: picklable, of a module that can be imported (not a script).
            tasks: its arguments.

        Yields:
            (task, None or what went wrong), in the order in which tasks end.

        Raises:
            InputError: `work` cannot be sent to another process.
        """
        if self._template is None:
            with threadpoolctl.threadpool_limits(1):  # as in a worker, so that the bits are the same
                for task in tasks:
                    yield task, failure(work, task)
            return
        if not tasks:
            return
        self._template.load(work)
        crew = _Crew(self._template, tasks)
        threads = [
            threading.Thread(target=crew.drive, daemon=True)
            for _ in range(min(self._workers, len(tasks)))
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in tasks:
                ended = crew.done.get()
                if isinstance(ended, BaseException):
                    raise ended
                yield ended
        finally:
            crew.stop()
            for thread in threads:
                thread.join()


class _Template:
    """The parent's side of the process that workers are forked from; one thread at a time."""

    def __init__(self, preload: object):
        payload = _pickled(preload)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = _start(theirs.fileno())
        self._stream = self._socket.makefile("rwb")
        with contextlib.suppress(*_GONE):
            self._stream.write(payload)
            self._stream.flush()

    def load(self, work: Callable[[str], None]) -> None:
        payload = _pickled(work)
        try:
            self._stream.write(payload)
            self._stream.flush()
            trouble = pickle.load(self._stream)
        except _GONE:
            trouble = f"the process ended with exit code {self._process.wait()} as it began"
        if trouble is not None:
            raise InputError(_unsendable(trouble))

    def fork(self) -> tuple[int, socket.socket]:
        """A new worker's process id, and the socket that it listens to."""
        channel, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._socket, [_REQUEST.pack(0)], [theirs.fileno()])
            return pickle.load(self._stream), channel

    def exit_code(self, worker: int) -> int:
        """Waits for the worker's end."""
        self._socket.sendall(_REQUEST.pack(worker))
        return pickle.load(self._stream)

    def close(self) -> None:
        with contextlib.suppress(*_GONE):
            self._stream.close()
        self._socket.close()
        self._process.kill()
        self._process.wait()


class _Crew:
    """What the driving threads share: each drives one worker at a time."""

    def __init__(self, template: _Template, tasks: Sequence[str]):
        self.done: queue.SimpleQueue[tuple[str, str | None] | BaseException] = queue.SimpleQueue()
        self._todo = collections.deque(tasks)
        self._template = template
        self._lock = threading.Lock()
        self._stopped = False
        self._workers: set[int] = set()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    def drive(self) -> None:
        try:
            while not self._stopped and self._todo:
                self._drive_one()
        except _GONE:
            self.done.put(InputError(
                "the process that starts workers ended, perhaps for lack of memory: use fewer workers."
            ))
        except BaseException as error:
            self.done.put(error)

    def _drive_one(self) -> None:
        """Starts a worker, gives it tasks, and waits for its end."""
        with self._lock:
            if self._stopped:
                return
            worker, channel = self._template.fork()
            self._workers.add(worker)
        with channel:
            lost = self._give(channel)
        with self._lock:
            self._workers.discard(worker)
            code = self._template.exit_code(worker)
        if lost is not None:
            killed = " (killed, perhaps for lack of memory: use fewer workers)" if code < 0 else ""
            self.done.put((lost, f"{lost}: the worker process ended with exit code {code}{killed}"))

    def _give(self, channel: socket.socket) -> str | None:
        """Returns the task during which the worker ended, or None."""
        with contextlib.suppress(*_GONE), channel.makefile("rwb") as stream:
            for _ in range(_TASKS):
                try:
                    task = self._todo.popleft()
                except IndexError:
                    return None
                try:
                    pickle.dump(task, stream)
                    stream.flush()
                    self.done.put((task, pickle.load(stream)))
                except _GONE:
                    return task
        return None


def _start(control: int) -> subprocess.Popen:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {
        **os.environ, **dict.fromkeys(_ONE_THREAD, "1"), **_KEEP_MEMORY, "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",  # a reader that uses JAX leaves accelerators to the parent
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve({control})"],
        stdin=subprocess.DEVNULL, env=environment, pass_fds=[control],
    )


def _pickled(content: object) -> bytes:
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(_unsendable(error)) from error


def _unsendable(why: object) -> str:
    return (
        f"the data set cannot be sent to worker processes ({why}). Define it in a module that can be "
        "imported, or prepare without workers (workers=0)."
    )


def serve(control: int) -> None:
    """The template's side: reads what to import and `work`, then forks until the socket ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what readers print is the script's to say
    parent = socket.socket(fileno=control)
    stream = parent.makefile("rwb")
    with contextlib.suppress(*_GONE):
        try:
            pickle.load(stream)
            work = pickle.load(stream)
        except EOFError:
            return
        except Exception as error:
            _answer(stream, f"{type(error).__name__}: {error}")
            return
        _answer(stream, None)
        while True:
            request, channels, _, _ = socket.recv_fds(parent, _REQUEST.size, 1)
            if not request:
                return
            worker, = _REQUEST.unpack(request)
            if worker:
                _answer(stream, os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
            elif worker := os.fork():
                os.close(channels[0])
                _answer(stream, worker)
            else:
                parent.detach()
                os.close(control)
                _do_tasks(work, socket.socket(fileno=channels[0]))


def _do_tasks(work: Callable[[str], None], channel: socket.socket) -> None:
    """The worker's side: does tasks until the socket ends, and ends with it."""
    try:
        with contextlib.suppress(*_GONE):
            stream = channel.makefile("rwb")
            while True:
                _answer(stream, failure(work, pickle.load(stream)))
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def _answer(stream: Any, content: object) -> None:
    pickle.dump(content, stream)
    stream.flush()


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
