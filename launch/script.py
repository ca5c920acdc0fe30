"""How every launch script starts: one clear line and exit code 2 for bad input."""

import sys
from collections.abc import Callable

from absl import app, flags

from model_ports.errors import InputError


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        print(f"error: {error}\nSee --help for the flags of this script.", file=sys.stderr)
        sys.exit(2)
    if len(rest) > 1:
        print(
            f"error: unexpected argument {rest[1]!r}; flags are written --name=value.",
            file=sys.stderr,
        )
        sys.exit(2)
    return rest


def run(main: Callable[[], None]) -> None:
    """Parses absl flags and calls `main`; `InputError` is printed and exits with code 2."""

    def guarded(argv: list[str]) -> None:
        del argv
        try:
            main()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded, flags_parser=_parse)
