"""A script without a package of an extra ends with the command that installs it."""

import configparser
import pathlib
import re
import subprocess
import sys

import pytest

from launch.missing_extra import EXTRAS

_ROOT = pathlib.Path(__file__).parents[2]
_WITHOUT = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["transfer"]
runpy.run_module("launch.transfer", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [("mne", "error: mne is not installed: pip install 'jaxbridge[data]'"),
     ("jinja2", "error: jinja2 is not installed: pip install 'jaxbridge[report]'")],
)
def test_the_command_that_installs_it_is_told(name, message):
    refused = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(name=name)], cwd=_ROOT, text=True,
        capture_output=True, check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(message) and "Traceback" not in refused.stderr


def test_other_missing_modules_are_told_as_usual():
    failed = subprocess.run(
        [sys.executable, "-c", "import launch, no_such_module"], cwd=_ROOT, text=True,
        capture_output=True, check=False,
    )
    assert failed.returncode == 1 and "Traceback" in failed.stderr


def test_every_package_of_these_extras_is_known():
    setup = configparser.ConfigParser()
    setup.read(_ROOT / "setup.cfg")
    imported_as = {"pyyaml": "yaml"}
    for extra in ("data", "report"):
        wanted = re.findall(r"^[\w-]+", setup["options.extras_require"][extra], re.MULTILINE)
        names = {imported_as.get(package, package) for package in wanted}
        # scikit-learn brings scipy; jinja2 brings markupsafe
        assert names - {"scipy"} <= {module for module, of in EXTRAS.items() if of == extra}
