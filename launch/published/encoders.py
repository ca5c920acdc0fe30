"""Encoders of a reproduced direction: from a folder of weights, random, or small for a dry run."""

import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

import model_ports as mp
from model_ports.errors import InputError
from model_ports.saving import is_saved

_HUBERT = {
    "depth": 2, "features": 16, "num_heads": 2, "mlp_features": 32, "conv_channels": (16,) * 5,
    "position_kernel": 8, "position_groups": 2,
}
# The same families, small: for windows of 10 s at most where a table fixes their length.
SMALL: dict[str, dict[str, Any]] = {
    "labram": {"depth": 1, "mlp_features": 32, "layer_scale": 1.0},
    "hubert_ecg_small": _HUBERT,
    "hubert_ecg_base": _HUBERT,
    "hubert_ecg_large": _HUBERT,
    "papagei": {"depth": 2, "features": 4, "embedding_features": 8},
    "normwear": {"depth": 1, "features": 32, "num_heads": 2, "mlp_features": 64},
    "ecg_fm": {
        "depth": 2, "features": 16, "num_heads": 2, "mlp_features": 32, "conv_channels": (8,) * 4,
    },
    "ecg_dualnet": {
        "features": (16, 32, 32), "time_span": 23, "attention_groups": 4, "num_windows": 13,
        "signal_depth": 1, "mlp_features": 32,
    },
    "tiny_biomoe": {
        "image_size": 64, "stem_features": 4, "spectral_features": (4, 4),
        "attention_features": (4, 4), "attention_heads": (1, 1), "mlp_ratios": (1, 1, 1, 1),
        "vit_features": (8, 8, 4), "vit_heads": (1, 1, 1), "key_features": 4, "window": 2,
    },
}
# Far from the seeds of weights.
_BIASES = 10_000
_log = logging.getLogger("jaxbridge")


def study_encoder(
    name: str, leads: Sequence[str], *, checkpoints: str | pathlib.Path | None, small: bool,
    seed: int, dtype: str,
) -> mp.Encoder:
    """Returns an encoder.

    Args:
        name: in the registry.
        leads: of the windows; LaBraM depends on them.
        checkpoints: folder of weights; None for random ones, biases included.
        small: of reduced size.
        seed: of random weights.
        dtype: compute type.

    Raises:
        InputError: the folder has no weights of that name, or they cannot be read.
    """
    overrides: dict[str, Any] = {"dtype": dtype}
    if name == "labram":
        overrides["leads"] = tuple(leads)
    if checkpoints is None:
        _log.info("%s: random weights (seed %d), nothing pretrained", name, seed)
        encoder = mp.create(name, rngs=nnx.Rngs(seed), **overrides, **(SMALL[name] if small else {}))
        _draw_biases(encoder, nnx.Rngs(seed + _BIASES))
        return encoder
    path = weights_of(name, pathlib.Path(checkpoints))
    _log.info("%s: weights of %s", name, path)
    if is_saved(path):
        return mp.load(path, **overrides)
    return mp.from_checkpoint(name, path, **overrides)


def _draw_biases(encoder: mp.Encoder, rngs: nnx.Rngs) -> None:
    """Gives biases that begin at zero, which trained ones are not, small random values.

    A bridge's output begins at zero. Layers without biases map it to zero, where the gradient through
    a layer norm is 1 / sqrt(epsilon): HuBERT-ECG's sixteen norms in a row take it beyond float32.
    """
    for path, parameter in nnx.iter_graph(encoder):
        is_bias = isinstance(parameter, nnx.Param) and path[-1] == "bias"
        if is_bias and not parameter[...].any():
            drawn = 0.02 * jax.random.normal(rngs.params(), parameter.shape, parameter.dtype)
            parameter.set_value(drawn)


def weights_of(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns where a folder of weights has those of an encoder.

    That is the folder `name` that `convert` wrote, or a published file, in it or in a folder `name`.

    Raises:
        InputError: nowhere.
    """
    published = [file.name for file in mp.sources(name).files]
    places = [folder / name, *(folder / name / file for file in published),
              *(folder / file for file in published)]
    for path in places:
        if is_saved(path) or path.is_file():
            return path
    raise InputError(
        f"{folder} has no weights of {name}: put there the folder {name} that launch.convert writes, "
        f"or the published file ({', '.join(published)}; python -m launch.convert --model={name} "
        "--sources tells where it is)."
    )
