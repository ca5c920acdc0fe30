"""How far an encoder is from its PyTorch original, by goldens: what the original computed.

A golden is a folder with manifest.json (layout, shapes, input) and golden.npz. It needs no weights:
a recipe, a small Python file with `tensor(name, shape, salt)` and `signal(seed, shape)`, fills the
original's state dict and its input, and ours alike.
"""

import dataclasses
import importlib.util
import json
import pathlib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np
from flax import nnx

from model_ports import registry
from model_ports.encoder import Encoder
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class Variant:
    """One golden of an encoder.

    Attributes:
        folder: name of the golden.
        encoder: name in the registry.
        overrides: configuration fields that the golden needs.
    """

    folder: str
    encoder: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


VARIANTS = (
    Variant("ecg_dualnet", "ecg_dualnet"),
    Variant("ecg_fm", "ecg_fm", {"layer_norm_first": False}),
    Variant("ecg_fm_prenorm", "ecg_fm", {"layer_norm_first": True}),
    Variant("hubert_ecg_base", "hubert_ecg_base"),
    Variant("hubert_ecg_large", "hubert_ecg_large"),
    Variant("hubert_ecg_small", "hubert_ecg_small"),
    Variant("labram", "labram"),
    Variant("labram_published", "labram", {"leads": ("F3", "C3", "O1", "F4", "C4", "O2")}),
    Variant("normwear", "normwear"),
    Variant("papagei", "papagei"),
    Variant("tiny_biomoe", "tiny_biomoe"),
)

# Checks that float32 cannot pass, whoever computes them -> why. They are measured and told apart.
ILL_CONDITIONED = {
    ("tiny_biomoe", "suffix_from_6"):
        "standard-normal tokens in layer 6 amplify rounding 250 times; PyTorch in float32 is "
        "1.2e-4 from its own float64 result",
}


class Golden:
    """One golden: manifest, arrays, and the state dict and input of the recipe.

    Args:
        folder: with manifest.json and golden.npz.
        recipe: module with `tensor` and `signal`.

    Raises:
        InputError: there is no golden in the folder.
    """

    def __init__(self, folder: str | pathlib.Path, recipe: Any):
        folder = pathlib.Path(folder)
        self.recipe = recipe
        try:
            self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
            with np.load(folder / "golden.npz") as arrays:
                self.arrays: dict[str, np.ndarray] = dict(arrays)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"{folder} is no golden (manifest.json and golden.npz): {reason}."
            ) from None

    def state_dict(self, salt: str = "") -> dict[str, np.ndarray]:
        """Returns the original's entries as the recipe fills them."""
        return {
            name: self.recipe.tensor(name, tuple(shape), salt)
            for name, shape in self.manifest["state_dict"].items()
        }

    def signal(self) -> np.ndarray:
        """Returns the input that the original was given."""
        return self.recipe.signal(0, tuple(self.manifest["input"]["shape"]))


def read_recipe(path: str | pathlib.Path) -> ModuleType:
    """Returns the recipe in a Python file, which is run.

    Raises:
        InputError: there is no such file, or it has no `tensor` and `signal`.
    """
    path = pathlib.Path(path)
    spec = importlib.util.spec_from_file_location("golden_recipe", path)
    if spec is None or not path.is_file():
        raise InputError(f"there is no recipe at {path}, a Python file with tensor and signal.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if missing := [name for name in ("tensor", "signal") if not hasattr(module, name)]:
        raise InputError(f"{path} has no {' and no '.join(missing)}; it is not the recipe.")
    return module


def relative_error(ours: jax.Array | np.ndarray, theirs: np.ndarray) -> float:
    """max |a - b| / max |b|."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def drawn_suffix_inputs(encoder: Encoder, golden: Golden) -> dict[int, np.ndarray]:
    """Returns the tokens, (batch, tokens, features), with which the original's suffixes began.

    The original drew `signal(1, shape)` in its own layout: channels before positions in the
    convolutional encoders, time before batch in ECG-FM.
    """
    shape = golden.signal().shape
    found = {}
    for key in golden.arrays:
        if not (match := re.fullmatch(r"suffix_from_(\d+)", key)):
            continue
        layer = int(match[1])
        batch, (tokens, features) = shape[0], encoder.layer_shape(layer, shape)
        name = encoder.config.name
        if name in ("papagei", "ecg_dualnet") or (name == "tiny_biomoe" and 5 <= layer < 15):
            drawn = golden.recipe.signal(1, (batch, features, tokens)).transpose(0, 2, 1)
        elif name == "ecg_fm":
            drawn = golden.recipe.signal(1, (tokens, batch, features)).transpose(1, 0, 2)
        else:
            drawn = golden.recipe.signal(1, (batch, tokens, features))
        found[layer] = drawn
    return found


def layer_errors(
    encoder: Encoder,
    golden: Golden,
    suffix_inputs: Mapping[int, np.ndarray] | None = None,
) -> dict[str, float]:
    """Relative error of every array that the golden holds: means, corners, norms, suffixes.

    Args:
        encoder: the port, with the golden's weights.
        golden: what the original computed.
        suffix_inputs: layer -> tokens that replace its input; `drawn_suffix_inputs` if None.
    """

    @jax.jit
    def layers(encoder: Encoder, signal: jax.Array) -> list[jax.Array]:
        tokens, context = encoder.embed(signal), encoder.context(signal)
        out = [tokens]
        for i in range(encoder.num_layers):
            out.append(tokens := encoder.run(tokens, i, i + 1, context))
        return out

    signal = golden.signal()
    found = jax.jit(lambda e, x: e.activations(x))(encoder, signal)
    tokens = [np.asarray(t, np.float64) for t in layers(encoder, signal)]
    errors = {}
    for i in range(encoder.num_layers):
        errors[f"layer{i}_input_mean"] = relative_error(
            found.inputs[i], golden.arrays[f"layer{i}_input_mean"]
        )
        errors[f"layer{i}_output_mean"] = relative_error(
            found.outputs[i], golden.arrays[f"layer{i}_output_mean"]
        )
        out = tokens[i + 1]
        errors[f"layer{i}_output_corner"] = relative_error(
            out[0, :8, :16], golden.arrays[f"layer{i}_output_corner"]
        )
        norm = np.array([out.mean(), out.std(), np.sqrt((out**2).sum())])
        errors[f"layer{i}_output_norm"] = relative_error(
            norm, golden.arrays[f"layer{i}_output_norm"]
        )
    errors["final_output"] = relative_error(found.final, golden.arrays["final_output"])
    if suffix_inputs is None:
        suffix_inputs = drawn_suffix_inputs(encoder, golden)
    context = jax.jit(lambda e, x: e.context(x))(encoder, signal)
    for start, tokens in suffix_inputs.items():
        suffix = jax.jit(
            lambda e, t, c, start=start: e.run(t, start, e.num_layers, c).mean(axis=1)
        )
        errors[f"suffix_from_{start}"] = relative_error(
            suffix(encoder, tokens, context), golden.arrays[f"suffix_from_{start}"]
        )
    return errors


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How far a port is from its original on one golden.

    Attributes:
        folder: name of the golden.
        encoder: name in the registry.
        parameters: weights that training changes; running statistics are not among them.
        num_layers: layers compared.
        checks: arrays compared.
        max_error: largest relative error, the ill-conditioned checks left out.
        worst: the check that shows it.
        ill_conditioned: check -> its error, for those of `ILL_CONDITIONED`.
    """

    folder: str
    encoder: str
    parameters: int
    num_layers: int
    checks: int
    max_error: float
    worst: str
    ill_conditioned: Mapping[str, float]


def measure(variant: Variant, root: str | pathlib.Path, recipe: Any) -> Fidelity:
    """Compares the port with one golden, in float32 on whatever device JAX uses.

    Args:
        variant: which golden.
        root: folder that holds the goldens' folders.
        recipe: module with `tensor` and `signal`, see `read_recipe`.

    Raises:
        InputError: the golden is not there.
    """
    golden = Golden(pathlib.Path(root) / variant.folder, recipe)
    encoder = registry.from_state_dict(variant.encoder, golden.state_dict(), **variant.overrides)
    errors = layer_errors(encoder, golden)
    apart = {
        check: errors.pop(check)
        for name, check in ILL_CONDITIONED if name == variant.encoder and check in errors
    }
    worst = max(errors, key=errors.get)
    return Fidelity(
        folder=variant.folder,
        encoder=variant.encoder,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(nnx.state(encoder, nnx.Param))),
        num_layers=encoder.num_layers,
        checks=len(errors),
        max_error=errors[worst],
        worst=worst,
        ill_conditioned=apart,
    )
