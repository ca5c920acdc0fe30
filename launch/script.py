"""How every launch script starts: one clear line and exit code 2 for bad input."""

import logging
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

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

    if together:
        from launch.several_hosts import joined  # the scripts of one process need no JAX to start

        main = joined(main)

    def guarded(argv: list[str]) -> None:
        _show_log()
        try:
            main(*([argv[1:]] if arguments else []))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded, flags_parser=_parse if arguments else _parse_flags_only)
