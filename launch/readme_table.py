"""Tables of README.md that are written by scripts, between two markers each."""

import pathlib

from model_ports.errors import InputError

README = pathlib.Path(__file__).parents[1] / "README.md"


def with_table(readme: str, script: str, text: str) -> str:
    """Returns README.md with `text` between the two markers of a script.

    Raises:
        InputError: the markers are not there, once each and in order.
    """
    first, last = f"<!-- {script}: begin -->", f"<!-- {script}: end -->"
    before, begin, rest = readme.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in after or last in after:
        raise InputError(f"README.md must hold {first} and then {last}, once each.")
    return f"{before}{first}\n{text}\n{last}{after}"
