"""Spectrograms: angle, phase and power spectral density of short frames."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.errors import InputError
from model_ports.representations.color_maps import colored
from model_ports.representations.pixels import area_means, scaled
from model_ports.representations.representation import Colored

SPECTRA = ("angle", "phase", "psd")
# Matplotlib draws log 0 as it comes; below this range float32 rounding would set the scale.
_RANGE_DB = 80.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrogram(Colored):
    """The spectrum of overlapping frames: time to the right, frequency upwards to half the rate.

    Tiny-BioMoE (arXiv 2507.21875) and PainFormer (arXiv 2505.01571) name spectrogram-angle, -phase
    and -PSD and give no settings. These are the modes of Matplotlib's `specgram`, whose defaults
    are taken: Hann frames (symmetric) of 256 samples, half overlapping, none padded; "angle" is
    the angle of the Fourier coefficient, "phase" is it unwrapped from low to high frequencies,
    "psd" is the one-sided power density in dB. Smallest to largest value of each picture span the
    colour map; the power density ends 80 dB below its maximum, which Matplotlib leaves open.

    Angles of frequencies that the signal does not hold are noise, in any precision.

    Attributes:
        spectrum: "angle", "phase" or "psd".
        frame_samples: length of a frame.
        hop_samples: from the start of one frame to that of the next; half a frame if None.
    """

    spectrum: str = "psd"
    frame_samples: int = 256
    hop_samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spectrum not in SPECTRA:
            raise InputError(
                f"there is no spectrogram of {self.spectrum!r}; there are {', '.join(SPECTRA)}."
            )
        if self.frame_samples < 4 or (self.hop_samples is not None and self.hop_samples < 1):
            raise InputError(
                f"frame_samples={self.frame_samples} must be at least 4 and "
                f"hop_samples={self.hop_samples} at least 1."
            )

    @property
    def name(self) -> str:
        return f"spectrogram_{self.spectrum}"

    @property
    def min_samples(self) -> int:
        return self.frame_samples

    @property
    def _remedy(self) -> str:
        return " or a smaller frame_samples"

    def _draw(self, signal: jax.Array) -> jax.Array:
        values = scaled(self._values(signal))[:, ::-1]
        return colored(area_means(values, self.size), self.color_map)

    def _values(self, signal: jax.Array) -> jax.Array:
        """(batch, samples) -> (batch, frequencies, frames)."""
        length, hop = self.frame_samples, self.hop_samples or self.frame_samples // 2
        starts = np.arange(0, signal.shape[1] - length + 1, hop)
        window = np.hanning(length)
        frames = signal[:, starts[:, None] + np.arange(length)] * window.astype(np.float32)
        spectrum = jnp.swapaxes(jnp.fft.rfft(frames), 1, 2)
        if self.spectrum == "psd":
            power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
            twice = np.ones(spectrum.shape[1])
            twice[1 : (length + 1) // 2] = 2  # neither constant nor half the rate, of which is one
            power = power * jnp.asarray(twice, jnp.float32)[:, None]
            top = jnp.max(power, axis=(1, 2), keepdims=True)
            least = 10 ** (-_RANGE_DB / 10)
            ratio = jnp.where(top > 0, power / jnp.where(top > 0, top, 1), 1)
            return jnp.log(jnp.maximum(ratio, least))
        angle = jnp.angle(spectrum)
        if self.spectrum == "phase":
            turns = jnp.round(jnp.diff(angle, axis=1) / (2 * math.pi))
            turns = jnp.pad(jnp.cumsum(turns, axis=1), ((0, 0), (1, 0), (0, 0)))
            return angle - 2 * math.pi * turns
        return angle
