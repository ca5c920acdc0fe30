"""What the PyTorch originals compute (tests/data/golden), and comparison with it."""

import json
import pathlib
from collections.abc import Mapping

import jax
import numpy as np

import model_ports as mp
from tests import recipe

_ROOT = pathlib.Path(__file__).parent / "data" / "golden"


class Golden:
    """One golden folder: manifest, arrays, and the state dict and input of its rule."""

    def __init__(self, folder: str):
        self.manifest = json.loads((_ROOT / folder / "manifest.json").read_text())
        with np.load(_ROOT / folder / "golden.npz") as arrays:
            self.arrays = dict(arrays)

    def state_dict(self, salt: str = "") -> dict[str, np.ndarray]:
        return {
            name: recipe.tensor(name, tuple(shape), salt)
            for name, shape in self.manifest["state_dict"].items()
        }

    def signal(self) -> np.ndarray:
        return recipe.signal(0, tuple(self.manifest["input"]["shape"]))


def relative_error(ours: jax.Array, theirs: np.ndarray) -> float:
    """max |a - b| / max |b|."""
    ours = np.asarray(ours, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def layer_errors(
    encoder: mp.Encoder, golden: Golden, suffix_inputs: Mapping[int, np.ndarray] | None = None
) -> dict[str, float]:
    """Relative error of every array that the golden holds: means, corners, norms, suffixes.

    Args:
        encoder: the port, with the golden's weights.
        golden: what the original computed.
        suffix_inputs: layer -> tokens that replace its input, where the original's layout is not
            (batch, tokens, features); otherwise `signal(1, shape)` for the manifest's layers.
    """

    @jax.jit
    def layers(encoder: mp.Encoder, signal: jax.Array) -> list[jax.Array]:
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
        suffix_inputs = {
            start: recipe.signal(1, (signal.shape[0], *encoder.layer_shape(start, signal.shape)))
            for start in golden.manifest["suffix_layers"]
        }
    context = jax.jit(lambda e, x: e.context(x))(encoder, signal)
    for start, tokens in suffix_inputs.items():
        suffix = jax.jit(
            lambda e, t, c, start=start: e.run(t, start, e.num_layers, c).mean(axis=1)
        )
        errors[f"suffix_from_{start}"] = relative_error(
            suffix(encoder, tokens, context),
            golden.arrays[f"suffix_from_{start}"],
        )
    return errors
