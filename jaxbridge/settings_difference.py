"""What differs between the settings of a run that is there and those asked for now."""

from collections.abc import Mapping
from typing import Any


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that differs, sorted by name; empty where none does.

    Of groups of settings, only those that differ: "head.epochs".
    """
    lines = []
    for key in sorted(there.keys() | now.keys()):
        before, after = there.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += [f"  {key}.{line.lstrip()}" for line in differences(before, after)]
        elif before != after:
            lines.append(f"  {key}: {before!r} there, {after!r} now")
    return lines
