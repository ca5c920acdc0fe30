"""How many steps are one compiled call: nothing is heeded, told or saved while one runs."""

from collections.abc import Callable

import jax

# A machine that is taken away gives half a minute. Two cores do this in some ten seconds, many cores
# in less; an accelerator takes one second at its best, tens where its batches are small.
_OPERATIONS = {"cpu": 5e11}
_ON_ACCELERATORS = 3e14
# Fewer are not worth the time to count their operations.
_FEW = 4


def part_steps(most: int, step_operations: Callable[[], float]) -> int:
    """Returns into how many steps a longer run of them is divided; the same wherever it is asked.

    Operations decide, not time: a resumed run must call the same programs to get the same bits, and
    all processes must call them together.

    Args:
        most: steps that may be taken in one call.
        step_operations: counts those of a step on each device, 0 if it cannot.
    """
    if most <= _FEW:
        return most
    at_once = _OPERATIONS.get(jax.default_backend(), _ON_ACCELERATORS)
    fitting = max(1, int(at_once // max(1.0, step_operations())))
    return -(-most // -(-most // fitting))  # of equal length, as far as can be
