"""What a PyTorch original computed on shapes and weights that the goldens do not show.

A file holds `names` and `shapes` of the state dict, `salt`, `seed` and `signal_shape`, from which
weights and input follow by `tests.recipe`, and the arrays that the original computed from them.
"""

import json
import pathlib

import numpy as np

from tests import recipe

_ROOT = pathlib.Path(__file__).parent / "data" / "torch"


class TorchValues:
    def __init__(self, name: str):
        with np.load(_ROOT / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)

    def state_dict(self) -> dict[str, np.ndarray]:
        shapes = json.loads(str(self.arrays["shapes"]))
        return {
            str(name): recipe.tensor(str(name), tuple(shape), str(self.arrays["salt"]))
            for name, shape in zip(self.arrays["names"], shapes, strict=True)
        }

    def signal(self) -> np.ndarray:
        return recipe.signal(int(self.arrays["seed"]), tuple(self.arrays["signal_shape"]))
