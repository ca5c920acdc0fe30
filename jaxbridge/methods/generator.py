"""A small convolutional network from one 1-D signal to another."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports.errors import InputError

# Old samples that one latent step becomes.
_STRIDE = 8
_DILATIONS = (1, 4, 16)


class Generator(nnx.Module):
    """Strided convolution, resampling to the old duration, dilated convolutions, sub-pixel output.

    Signals are (batch, samples), (batch, leads, samples) or (batch, leads, seconds, samples).

    Args:
        new: new windows, (k, ...), whose mean and deviation the input is scaled by.
        old: old windows, (k, ...), whose mean and deviation, per lead, the output is scaled by.
        hidden: channels.
        rngs: source of initial values.

    Raises:
        InputError: windows of more axes, such as pictures.
    """

    def __init__(self, new: np.ndarray, old: np.ndarray, *, hidden: int, rngs: nnx.Rngs):
        new, out = as_leads(np.asarray(new)), as_leads(np.asarray(old))
        self.shape, self.samples = tuple(old.shape[1:]), out.shape[2]
        self.steps = -(-self.samples // _STRIDE)
        leads_in, leads_out = new.shape[1], out.shape[1]
        self.input_mean, self.input_scale, self.output_mean, self.output_scale = (
            nnx.Variable(jnp.asarray(value))
            for values in (new, out)
            for value in (values.mean(axis=(0, 2)), values.std(axis=(0, 2)) + 1e-6)
        )
        stride = max(1, min(_STRIDE, new.shape[2] // self.steps))
        self.first = nnx.Conv(leads_in, hidden, (2 * stride + 7,), stride, rngs=rngs)
        self.middle = nnx.List([
            nnx.Conv(hidden, hidden, (7,), kernel_dilation=d, rngs=rngs) for d in _DILATIONS
        ])
        self.last = nnx.Conv(hidden, leads_out * _STRIDE, (3,), rngs=rngs)

    def standardised(self, new: jax.Array) -> jax.Array:
        """(batch, ...) new signals -> (batch, old leads, samples) in units of their deviation."""
        x = as_leads(new)
        x = (x - self.input_mean[...][:, None]) / self.input_scale[...][:, None]
        x = jax.nn.gelu(self.first(x.swapaxes(1, 2)))
        x = jax.image.resize(x, (x.shape[0], self.steps, x.shape[2]), "linear")
        for layer in self.middle:
            x = x + jax.nn.gelu(layer(x))
        x = self.last(x)
        x = x.reshape(x.shape[0], self.steps * _STRIDE, -1)
        return x[:, : self.samples].swapaxes(1, 2)

    def target(self, old: jax.Array) -> jax.Array:
        """(batch, ...) old signals -> what `standardised` should be."""
        x = as_leads(old)
        return (x - self.output_mean[...][:, None]) / self.output_scale[...][:, None]

    def signal(self, standardised: jax.Array) -> jax.Array:
        """(batch, old leads, samples) -> (batch, ...) in the old signal's unit and shape."""
        x = standardised * self.output_scale[...][:, None] + self.output_mean[...][:, None]
        return x.reshape(x.shape[0], *self.shape)


def as_leads(signal: jax.Array) -> jax.Array:
    """(batch, samples), (batch, leads, samples) or (batch, leads, seconds, samples) -> the second."""
    if not 2 <= signal.ndim <= 4:
        raise InputError(f"windows of shape {signal.shape[1:]} are no leads of a signal.")
    if signal.ndim == 2:
        signal = signal[:, None]
    return signal.reshape(*signal.shape[:2], -1)
