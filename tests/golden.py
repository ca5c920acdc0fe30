"""What the PyTorch originals compute (tests/data/golden), and comparison with it."""

import pathlib

from model_ports import fidelity
from model_ports.fidelity import layer_errors, relative_error
from tests import recipe

__all__ = ["ROOT", "Golden", "layer_errors", "relative_error"]

ROOT = pathlib.Path(__file__).parent / "data" / "golden"


class Golden(fidelity.Golden):
    """The golden of that name among those that the tests keep."""

    def __init__(self, folder: str):
        super().__init__(ROOT / folder, recipe)
