"""Representations by name, and the check of what they draw."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.errors import InputError
from model_ports.representations.recurrence import Recurrence
from model_ports.representations.representation import Representation
from model_ports.representations.scalogram import Scalogram
from model_ports.representations.spectrogram import SPECTRA, Spectrogram
from model_ports.representations.waveform import Waveform

# In the order of the paper's list.
REPRESENTATIONS: Mapping[str, Representation] = {
    drawn.name: drawn
    for drawn in (
        Waveform(), *(Spectrogram(spectrum=each) for each in SPECTRA), Recurrence(), Scalogram(),
    )
}


def representation(name: str, **settings: Any) -> Representation:
    """Returns the representation of that name, with settings other than the default.

    Raises:
        InputError: no such representation, or a setting that it does not have or take.
    """
    if name not in REPRESENTATIONS:
        raise InputError(
            f"there is no representation {name!r}; there are {', '.join(REPRESENTATIONS)}."
        )
    found = REPRESENTATIONS[name]
    known = [field.name for field in dataclasses.fields(found)]
    if unknown := sorted(set(settings) - set(known)):
        raise InputError(f"{name} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    return dataclasses.replace(found, **settings)


def represent(
    signals: np.ndarray | jax.Array, drawn_as: str | Representation = "waveform"
) -> jax.Array:
    """Draws signals as pictures for Tiny-BioMoE.

    The samples are checked on the host, means are taken out in float64; the drawing is compiled
    once per shape and representation. Within jit call the `Representation` itself.

    Args:
        signals: (batch, samples), in any unit; each is scaled by itself.
        drawn_as: a name out of `REPRESENTATIONS`, or a `Representation`.

    Returns:
        (batch, 3, size, size) float32 in 0..1.

    Raises:
        InputError: an unknown representation, another shape, NaN or infinite samples, or signals
            that are too short.
    """
    drawn = representation(drawn_as) if isinstance(drawn_as, str) else drawn_as
    if isinstance(signals, jax.core.Tracer):
        raise InputError("represent looks at the samples; within jit call representation(name).")
    signals = np.asarray(signals)
    if signals.ndim != 2 or not signals.size:
        raise InputError(f"signals must be (batch, samples), not of shape {signals.shape}.")
    check_finite(signals)
    centred = signals - signals.mean(axis=1, keepdims=True, dtype=np.float64)
    return _drawn(drawn, jnp.asarray(centred, jnp.float32))


def check_finite(signals: np.ndarray) -> None:
    """Refuses NaN and infinite samples in (batch, samples), naming the first ones.

    Raises:
        InputError: as above.
    """
    finite = np.isfinite(signals)
    if finite.all():
        return
    row = int(np.argmin(finite.all(axis=1)))
    bad = np.flatnonzero(~finite[row])
    stop = bad[np.argmax(np.append(np.diff(bad) > 1, True))] + 1  # of the first unbroken run
    raise InputError(
        f"signal {row} has {bad.size} NaN or infinite of {signals.shape[1]} samples, the first at "
        f"{bad[0]}-{stop}; leave the window out or interpolate the gap."
    )


@functools.partial(jax.jit, static_argnames="drawn")
def _drawn(drawn: Representation, signals: jax.Array) -> jax.Array:
    return drawn(signals)
