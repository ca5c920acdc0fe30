"""Scalogram: magnitudes of the continuous wavelet transform."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from model_ports.batch_groups import in_groups
from model_ports.errors import InputError
from model_ports.representations.color_maps import colored
from model_ports.representations.pixels import area_means
from model_ports.representations.representation import Colored

_OMEGA = 6.0
_HIGHEST = 0.4  # cycles per sample; a wavelet around half the rate would fold


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scalogram(Colored):
    """Morlet wavelet transform: time to the right, frequency upwards, in equal ratios.

    Tiny-BioMoE (arXiv 2507.21875) names neither wavelet nor scales. Taken is the complex Morlet
    wavelet of omega 6 (Torrence and Compo, 1998), the taps sampled and divided by their scale, so
    that equal sines give equal magnitudes whatever their frequency; frequencies from one period
    in the whole signal to 0.4 of the sampling rate; magnitudes, not squared, from zero to the
    picture's largest; beyond its ends the signal is its mean.

    Attributes:
        scales: rows of the transform.
    """

    scales: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scales < 2:
            raise InputError(f"scales={self.scales} must be at least 2.")

    @property
    def min_samples(self) -> int:
        return 16

    def _draw(self, signal: jax.Array) -> jax.Array:
        size, bank = _bank(signal.shape[1], self.scales)

        def values(signal: jax.Array) -> jax.Array:
            spectra = jnp.fft.fft(signal, size)[:, None] * bank
            found = jnp.abs(jnp.fft.ifft(spectra)[..., : signal.shape[1]])
            top = jnp.max(found, axis=(1, 2), keepdims=True)
            return area_means(found / jnp.where(top > 0, top, 1), self.size)

        return colored(in_groups(values, signal, 8 * self.scales * size), self.color_map)


def frequencies(samples: int, scales: int) -> np.ndarray:
    """Returns the centre frequency of every row, highest first, in cycles per sample."""
    return np.geomspace(_HIGHEST, 1 / samples, scales)


def wavelets(samples: int, scales: int) -> np.ndarray:
    """Returns the taps at lags -(samples - 1) .. samples - 1, (scales, 2 * samples - 1)."""
    widths = (_OMEGA / (2 * np.pi * frequencies(samples, scales)))[:, None]
    at = np.arange(1 - samples, samples) / widths
    return np.exp(1j * _OMEGA * at - at**2 / 2) / widths


@functools.lru_cache(maxsize=4)
def _bank(samples: int, scales: int) -> tuple[int, np.ndarray]:
    """Spectra of the wavelets, (scales, size), and a transform length without wrapping."""
    size = scipy.fft.next_fast_len(2 * samples - 1)
    wrapped = np.zeros((scales, size), complex)
    wrapped[:, np.arange(1 - samples, samples)] = wavelets(samples, scales)
    return size, np.fft.fft(wrapped).astype(np.complex64)
