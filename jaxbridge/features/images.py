"""Embeddings of signals that are drawn as pictures first, one per signal and representation."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxbridge.features.store import FeatureStore, Windows, ensure_features
from jaxbridge.features.sweep import sweep
from model_ports import Encoder, check_collapse
from model_ports.errors import InputError
from model_ports.representations import REPRESENTATIONS, Representation, drawn_signals
from model_ports.representations.registry import check_finite

ALL = tuple(REPRESENTATIONS)


def embed_images(
    encoder: Encoder, signals: np.ndarray, drawn_as: Sequence[str | Representation] = ALL, *,
    batch_size: int = 8, what: str = "embedding",
) -> np.ndarray:
    """Returns the embedding of every signal in every representation.

    All representations are drawn and encoded in one compiled pass, split over all devices.

    Args:
        encoder: an encoder of pictures, such as `model_ports.create("tiny_biomoe")`.
        signals: (signals, samples), in any unit.
        drawn_as: names out of `REPRESENTATIONS`, or representations.
        batch_size: signals per call; each becomes as many pictures as there are representations.
        what: for the progress line.

    Returns:
        (signals, representations, features) float32.

    Raises:
        InputError: an encoder that takes no pictures, an unknown representation or none, NaN or
            infinite samples, or signals of another shape or too short.

    Warns:
        CollapseWarning: the encoder does not tell the signals apart.
    """
    signals = np.asarray(signals)
    if signals.ndim != 2 or not signals.size or not len(drawn_as):
        raise InputError(
            f"signals must be (signals, samples), not of shape {signals.shape}, and be drawn as at "
            f"least one of {', '.join(ALL)}."
        )
    check_finite(signals)
    signals = signals - signals.mean(axis=1, keepdims=True, dtype=np.float64)
    drawn = [drawn_signals(encoder, each).config.drawn_as for each in drawn_as]
    found = sweep(
        EmbedSignals(tuple(drawn)), encoder, lambda rows: signals[rows].astype(np.float32),
        np.arange(len(signals)), batch_size=batch_size, what=what,
    )
    for i, each in enumerate(drawn):
        check_collapse(found[:, i], f"{encoder.config.name}, {each.name},")
    return found


@dataclasses.dataclass(frozen=True)
class EmbedSignals:
    """Signals (batch, samples) -> (batch, representations, features), in one pass.

    Equal for equal representations, so that it is compiled once.
    """

    drawn: tuple[Representation, ...]

    def __call__(self, encoder: Encoder, signals: jax.Array) -> jax.Array:
        pictures = jnp.stack([draw(signals) for draw in self.drawn], axis=1)
        final = encoder.activations(pictures.reshape(-1, *pictures.shape[2:])).final
        return final.reshape(len(signals), len(self.drawn), -1)


def ensure_image_features(
    root: str | Path, encoder: Encoder, windows: Windows, modalities: Sequence[str],
    drawn_as: Sequence[str | Representation] = ALL, *, batch_size: int = 32,
) -> Mapping[tuple[str, str], FeatureStore]:
    """Opens the features of all layers of every modality and representation, or computes them.

    Args:
        root: folder of all feature stores.
        encoder: an encoder of pictures.
        windows: what to read; one lead per modality, (samples,) or (1, samples) a window.
        modalities: names in the windows.
        drawn_as: names out of `REPRESENTATIONS`, or representations.
        batch_size: windows per call.

    Returns:
        (modality, name of the representation) -> store; `store.final()` are the embeddings.

    Raises:
        InputError: see `ensure_features` and `embed_images`.

    Warns:
        CollapseWarning: the encoder does not tell the windows apart.
    """
    models = [drawn_signals(encoder, each) for each in drawn_as]
    return {
        (modality, model.config.drawn_as.name): ensure_features(
            root, model, windows, modality, batch_size=batch_size
        )
        for modality in modalities
        for model in models
    }
