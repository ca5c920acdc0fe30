"""What differs between the settings of a run that is there and those asked for now."""

from collections.abc import Mapping
from typing import Any


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that differs, sorted by name; empty where none does."""
    return [
        f"  {key}: {there.get(key)!r} there, {now.get(key)!r} now"
        for key in sorted(there.keys() | now.keys())
        if there.get(key) != now.get(key)
    ]
