"""Several calls of a script in one process: each start takes seconds."""

import json
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Sequence

_ROOT = pathlib.Path(__file__).parents[2]
_PROGRAM = """
import json, pathlib, sys
from absl import flags
import launch.{script} as script
from model_ports.errors import InputError
for given in json.loads(sys.argv[1]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["{script}", *given])
{body}
"""
_REFUSED = """
try:
    script.main()
    print("no error")
except InputError as error:
    print("refused: " + " ".join(str(error).split()))
"""


def outputs(
    script: str, calls: Sequence[Sequence[str]], body: str = "script.main()"
) -> list[str]:
    """Returns the lines that calls of a script printed.

    Args:
        script: its name in launch.
        calls: flags of each call.
        body: Python, done for each call once its flags are parsed; `script` is the module.
    """
    program = _PROGRAM.format(script=script, body=textwrap.indent(body, "    "))
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(calls)], cwd=_ROOT, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refusals(script: str, calls: Sequence[Sequence[str]]) -> list[str]:
    """Returns the message, on one line, of the `InputError` that each call ended with."""
    lines = outputs(script, calls, _REFUSED)
    told = [line.removeprefix("refused: ") for line in lines if line.startswith("refused: ")]
    assert len(told) == len(calls), lines
    return told
