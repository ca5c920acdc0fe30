"""Log spectrogram, as ECG-DualNet's data pipeline computes it with torchaudio."""

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.errors import InputError


def log_spectrogram(signal: jax.Array, frame_samples: int = 64) -> jax.Array:
    """Natural logarithm of the magnitude spectrogram, from below clipped at 1e-8.

    Periodic Hann frames, half overlapping and centred on samples 0, frame/2, frame, ... (the ends
    mirrored), one-sided, magnitudes divided by the window's l2 norm.

    Args:
        signal: (batch, samples), at any rate.
        frame_samples: even length of a frame, in samples.

    Returns:
        (batch, 1 + samples // (frame_samples / 2), frame_samples / 2 + 1), float32.

    Raises:
        InputError: the signal is not longer than half a frame, which mirroring needs.
    """
    hop = frame_samples // 2
    batch, samples = signal.shape
    if samples <= hop:
        raise InputError(
            f"a spectrogram of {frame_samples}-sample frames needs more than {hop} samples, "
            f"not {samples}."
        )
    frames = 1 + samples // hop
    padded = jnp.pad(jnp.asarray(signal, jnp.float32), ((0, 0), (hop, hop)), mode="reflect")
    halves = padded[:, : (frames + 1) * hop].reshape(batch, frames + 1, hop)
    framed = jnp.concatenate([halves[:, :-1], halves[:, 1:]], axis=-1)
    hann = np.square(np.sin(np.pi * np.arange(frame_samples) / frame_samples))
    spectrum = jnp.fft.rfft(framed * hann.astype(np.float32))
    return jnp.log(jnp.maximum(jnp.abs(spectrum) / np.sqrt(np.sum(hann**2)).astype(np.float32),
                               1e-8))
