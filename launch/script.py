"""How every launch script starts: one clear line and exit code 2 for bad input."""

import contextlib
import faulthandler
import logging
import os
import sys
import traceback
from collections.abc import Callable

import jax
from absl import app, flags
from absl import logging as absl_logging

from jaxbridge import hosts
from model_ports.errors import InputError


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        print(f"error: {error}\nSee --help for the flags of this script.", file=sys.stderr)
        sys.exit(2)
    return rest


def _parse_flags_only(argv: list[str]) -> list[str]:
    rest = _parse(argv)
    if len(rest) > 1:
        print(
            f"error: unexpected argument {rest[1]!r}; flags are written --name=value.",
            file=sys.stderr,
        )
        sys.exit(2)
    return rest


def _show_log() -> None:
    """Sends the package's own log lines to standard error, as plain lines."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax tells every step of a save
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("jaxbridge")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def run(main: Callable[..., None], *, together: bool = False, arguments: bool = False) -> None:
    """Parses absl flags and calls `main`; `InputError` is printed and exits with code 2.

    Args:
        main: the script.
        arguments: `main` is given the list of words that are no flags; else there may be none.
        together: it can run in several processes at once. Where the launcher started several, they
            join under `jax.distributed`, and the first one alone talks.
    """

    def guarded(argv: list[str]) -> None:
        with contextlib.ExitStack() as quiet:
            try:
                if together and hosts.asked_for():
                    hosts.start()
                    # Where JAX ends a process because another died, its message is what counts.
                    faulthandler.disable()
                    if not hosts.first():
                        nowhere = quiet.enter_context(open(os.devnull, "w"))
                        quiet.enter_context(contextlib.redirect_stdout(nowhere))
                        quiet.enter_context(contextlib.redirect_stderr(nowhere))
                _show_log()
                main(*([argv[1:]] if arguments else []))
                hosts.barrier()  # a process that leaves early would look lost
            except InputError as error:
                _leave(f"error: {error}", 2)
            except (jax.errors.JaxRuntimeError, ValueError):
                if not hosts.several():
                    raise
                traceback.print_exc(file=sys.__stderr__)
                _leave(
                    "error: this process failed, or lost another one. Every process ends within a "
                    "minute. Start all of them again with the same command: what was computed is "
                    "kept.", 1,
                )

    app.run(guarded, flags_parser=_parse if arguments else _parse_flags_only)


def _leave(message: str, code: int) -> None:
    several = hosts.several()
    where = f"process {jax.process_index()}: " if several else ""
    print(f"{where}{message}", file=sys.__stderr__, flush=True)
    if several:
        os._exit(code)  # an orderly end would wait for the others
    sys.exit(code)
