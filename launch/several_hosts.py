"""A script in several processes at once, one per host or device, under `jax.distributed`."""

import contextlib
import faulthandler
import logging
import os
import sys
import traceback
from collections.abc import Callable

import jax
from absl import flags

from jaxbridge import hosts
from model_ports.errors import InputError

_SEVERAL = flags.DEFINE_bool(
    "several_hosts", None, "Join the processes on other hosts (launch/pod.md); by default where "
    "JAX's, SLURM's, Open MPI's or GKE's variables tell of several.",
)


def joined(main: Callable[[], None]) -> Callable[[], None]:
    """Returns `main` for one process of several, of which the first one alone talks."""

    def together() -> None:
        if not (hosts.asked_for() if _SEVERAL.value is None else _SEVERAL.value):
            main()
            return
        hosts.start()
        # Where JAX ends a process because another died, its message is what counts.
        faulthandler.disable()
        try:
            with contextlib.ExitStack() as quiet:
                if not hosts.first():
                    logging.getLogger("jaxbridge").setLevel(logging.ERROR)
                    nowhere = quiet.enter_context(open(os.devnull, "w"))
                    quiet.enter_context(contextlib.redirect_stdout(nowhere))
                    quiet.enter_context(contextlib.redirect_stderr(nowhere))
                main()
            hosts.barrier()  # a process that leaves early would look lost
        except InputError as error:
            _leave(f"error: {error}", 2)
        except Exception:  # JAX's of a broken connection, or a fault here that would keep the others
            traceback.print_exc()
            _leave(
                "error: this process failed, or lost another one. Every process ends within a "
                "minute. Start all of them again with the same command: what was computed is kept.",
                1,
            )

    return together


def _leave(message: str, code: int) -> None:
    """Ends this process at once: an orderly end would wait for the others."""
    print(f"process {jax.process_index()}: {message}", file=sys.stderr, flush=True)
    os._exit(code)
