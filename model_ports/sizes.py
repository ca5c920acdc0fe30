"""Sizes that a state dict tells of its model."""

import re
from collections.abc import Mapping

from model_ports.state_dict import Shape


def agreed_size(shapes: Mapping[str, Shape], *places: tuple[str, int]) -> int | None:
    """Returns the size that all `places` (entry name, axis) have in common, else None.

    One mis-shaped entry thus does not change the configuration, so that it is named as what does
    not fit, and not all the others.
    """
    sizes = {
        shapes[name][axis] if name in shapes and axis < len(shapes[name]) else None
        for name, axis in places
    }
    return sizes.pop() if len(sizes) == 1 else None


def count_blocks(shapes: Mapping[str, Shape], pattern: str) -> int | None:
    """Returns 1 + the highest number that `pattern`'s first group matches, None without match."""
    found = [int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))]
    return max(found) + 1 if found else None
