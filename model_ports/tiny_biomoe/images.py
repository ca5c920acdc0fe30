"""Pictures as Tiny-BioMoE reads them: RGB, 224 x 224, intensities 0 to 1."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from model_ports.errors import InputError


def prepare_images(
    images: np.ndarray | jax.Array, value_range: tuple[float, float] | None, size: int
) -> jax.Array:
    """Checks, scales and resizes pictures; see `TinyBiomoe.prepare`.

    Raises:
        InputError: no RGB pictures, no value range for floats, or values outside it.
    """
    images = np.asarray(images)
    if images.ndim != 4 or (images.shape[1] == 3) == (images.shape[3] == 3):
        raise InputError(
            f"Tiny-BioMoE takes RGB pictures, (batch, height, width, 3) or "
            f"(batch, 3, height, width), not {images.shape}. A signal has to be made a picture "
            "first (spectrogram, recurrence plot, waveform): the published model leaves open how, "
            "and prepare does not choose."
        )
    if not images.size:
        raise InputError(f"the pictures of shape {images.shape} hold no pixels.")
    if value_range is None:
        if images.dtype != np.uint8:
            raise InputError(
                f"the pictures hold {images.dtype}: state which values are black and white, such "
                "as value_range=(0, 1) or (0, 255)."
            )
        value_range = 0, 255
    low, high = map(float, value_range)  # an integer would be subtracted within the pictures' type
    found = float(images.min()), float(images.max())
    if not low < high or not (low <= found[0] and found[1] <= high):
        raise InputError(
            f"the pictures hold values from {found[0]:g} to {found[1]:g}, which do not lie in "
            f"value_range=({low:g}, {high:g}); state the range that black and white have."
        )
    scaled = ((images - low) / (high - low)).astype(np.float32)
    if images.shape[1] != 3:
        scaled = scaled.transpose(0, 3, 1, 2)
    return _resized(scaled, size)


@functools.partial(jax.jit, static_argnames="size")
def _resized(images: jax.Array, size: int) -> jax.Array:
    """(batch, 3, height, width) -> (batch, 3, size, size): bilinear, antialiased, as Pillow."""
    if images.shape[2:] == (size, size):
        return images
    shape = (*images.shape[:2], size, size)
    return jnp.clip(
        jax.image.resize(images, shape, "linear", precision=jax.lax.Precision.HIGHEST), 0, 1
    )
