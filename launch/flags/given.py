"""Flags that were typed though nothing would heed them: better refused than taken for heeded."""

from collections.abc import Iterable

from absl import flags

from model_ports.errors import InputError


def refuse(names: Iterable[str], why: str) -> None:
    """Raises `InputError` if the command line has one of these flags; defaults and presets are none.

    Args:
        names: of flags that the script may have.
        why: what makes them idle, such as "is for --data".
    """
    for name in names:
        if name in flags.FLAGS and flags.FLAGS[name].present:
            raise InputError(f"--{name} {why}: leave it out.")
