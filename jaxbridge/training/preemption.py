"""Stopping in an orderly way when the machine is taken away."""

import signal
import types

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 143  # 128 + SIGTERM, what a shell reports of a process that the signal ended


class Preempted(SystemExit):
    """The run was asked to stop and has saved its state; the same command goes on with it."""

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message


class Preemption:
    """Listens for SIGTERM; a context manager around a training loop.

    Under `jax.distributed` the processes agree on the step at which all stop, whichever of them
    got the signal (JAX's preemption service).
    """

    def __init__(self):
        self._asked = False
        self._calls = 0
        self._before: signal.Handlers | types.FunctionType | None = None

    def __enter__(self) -> "Preemption":
        if jax.process_count() == 1:
            try:
                self._before = signal.signal(signal.SIGTERM, self._note)
            except ValueError:  # not in the main thread: whoever runs it handles signals
                self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def reached(self) -> bool:
        """Returns whether to stop now; every process must ask equally often."""
        if jax.process_count() > 1:
            # Counts calls, not steps: the agreed point is the latest count of any process plus 1.
            self._calls += 1
            return multihost_utils.reached_preemption_sync_point(self._calls)
        return self._asked

    def _note(self, *_: object) -> None:
        self._asked = True
