"""Convolutions of images, (batch, height, width, channels), and their published entries."""

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports import state_dict as sd
from model_ports import torch_init
from model_ports.batch_norm import BatchNorm, batch_norm

# (out, in, 1, 1) -> (in, out)
POINTWISE = sd.Layout(lambda x: x[:, :, 0, 0].T, lambda s: ((s[1], s[0], 1, 1),))
# (channels, 1, height, width) -> (height, width, channels)
DEPTHWISE = sd.Layout(lambda x: x[:, 0].transpose(1, 2, 0), lambda s: ((s[2], 1, s[0], s[1]),))


class Depthwise(nnx.Module):
    """One filter per channel, zero-padded by half its width.

    Filters of width 3 are written as shifted products, which compilers fuse into one pass: XLA's
    grouped convolution is many times slower on CPU, and no accelerator has units for it. Wider
    ones, which the model has on few features only, would take seconds to compile that way.
    """

    def __init__(
        self, features: int, width: int, *, stride: int = 1, use_bias: bool = False,
        kernel_init: nnx.initializers.Initializer | None = None, rngs: nnx.Rngs,
    ):
        self.width, self.stride = width, stride
        init = kernel_init or torch_init.bias_init(width * width)
        self.kernel = nnx.Param(init(rngs.params(), (width, width, features), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, height, width, features) -> the same, each side divided by the stride."""
        if self.width > 3:
            return self._convolved(x)
        half, step = self.width // 2, self.stride
        height, width = (-(-side // step) for side in x.shape[1:3])
        padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
        kernel = self.kernel[...]
        total = 0 if self.bias is None else self.bias[...]
        for i in range(self.width):
            for j in range(self.width):
                shifted = padded[
                    :, i : i + step * (height - 1) + 1 : step, j : j + step * (width - 1) + 1 : step
                ]
                total = total + shifted.astype(jnp.float32) * kernel[i, j]
        return total.astype(x.dtype)

    def _convolved(self, x: jax.Array) -> jax.Array:
        out = jax.lax.conv_general_dilated(
            x.astype(jnp.float32), self.kernel[...][:, :, None], (self.stride,) * 2,
            ((self.width // 2,) * 2,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )
        return (out if self.bias is None else out + self.bias[...]).astype(x.dtype)


class Normed(nnx.Module):
    """A convolution and its batch normalisation.

    Args:
        conv: the convolution.
        features: its output channels.
        ends_branch: whether it ends a residual branch, which then starts as zero.
    """

    def __init__(self, conv: nnx.Module, features: int, *, ends_branch: bool = False):
        self.conv = conv
        self.norm = BatchNorm(features)
        if ends_branch:
            self.norm.scale[...] = jnp.zeros(features, jnp.float32)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


def conv2d(
    fan_in: int, fan_out: int, width: int, stride: int, dtype: jnp.dtype, rngs: nnx.Rngs,
    *, use_bias: bool = False,
    kernel_init: nnx.initializers.Initializer = torch_init.kernel_init,
) -> nnx.Conv:
    """A convolution zero-padded by half its width."""
    return nnx.Conv(
        fan_in, fan_out, (width, width), (stride, stride), padding=((width // 2, width // 2),) * 2,
        use_bias=use_bias, kernel_init=kernel_init, dtype=dtype, rngs=rngs,
    )


def pointwise(fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    """A convolution of width 1, without bias."""
    return nnx.Linear(
        fan_in, fan_out, use_bias=False, kernel_init=torch_init.kernel_init, dtype=dtype, rngs=rngs
    )


def normed(target: str, source: str, layout: sd.Layout) -> list[sd.Entry]:
    """The published entries of a `Normed`."""
    return [sd.entry(f"{target}.conv.kernel", f"{source}.c.weight", layout)] + batch_norm(
        f"{target}.norm", f"{source}.bn"
    )


def with_bias(target: str, source: str, layout: sd.Layout) -> list[sd.Entry]:
    """The published entries of a convolution with bias."""
    return [
        sd.entry(f"{target}.kernel", f"{source}.weight", layout),
        sd.entry(f"{target}.bias", f"{source}.bias"),
    ]


def as_image(tokens: jax.Array, side: int) -> jax.Array:
    """(batch, side * side, features) -> (batch, side, side, features)."""
    return tokens.reshape(tokens.shape[0], side, side, tokens.shape[-1])


def as_tokens(image: jax.Array) -> jax.Array:
    """(batch, height, width, features) -> (batch, height * width, features)."""
    batch, height, width, features = image.shape
    return image.reshape(batch, height * width, features)
