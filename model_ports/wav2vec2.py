"""The parts that HuBERT-ECG and ECG-FM inherit from wav2vec 2.0 (Baevski et al., 2020)."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import initialisers
from model_ports import state_dict as sd
from model_ports.batch_groups import in_groups
from model_ports.convolution import convolve
from model_ports.encoder import EncoderConfig
from model_ports.errors import InputError
from model_ports.layers import attention, gelu, merge_heads, split_heads

_KAIMING = initialisers.variance_scaling(2.0, "fan_in", "normal")
_NORMAL = initialisers.normal(0.02)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config(EncoderConfig):
    """The hyper-parameters that HuBERT-ECG and ECG-FM share; the defaults are the base size."""

    depth: int = 12
    features: int = 768
    num_heads: int = 12
    mlp_features: int = 3072
    conv_channels: tuple[int, ...]
    conv_kernels: tuple[int, ...]
    conv_strides: tuple[int, ...]
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.conv_channels) == len(self.conv_kernels) == len(self.conv_strides):
            raise InputError("conv_channels, conv_kernels and conv_strides must be equally long.")
        for name in ("num_heads", "position_groups"):
            if self.features % getattr(self, name):
                raise InputError(
                    f"features={self.features} does not divide into {name}={getattr(self, name)}."
                )

    @property
    def min_samples(self) -> int:
        """The shortest signal, in samples, that gives one token."""
        samples = 1
        layers = zip(self.conv_kernels, self.conv_strides, strict=True)
        for kernel, stride in reversed(list(layers)):
            samples = (samples - 1) * stride + kernel
        return samples

    def check_length(self, samples: int) -> None:
        """Refuses a signal of too few samples for one token."""
        if samples < self.min_samples:
            raise InputError(
                f"{self.name} needs at least {self.min_samples} samples "
                f"({self.min_samples / self.sampling_rate_hz:g} s), not {samples}."
            )


class ConvStem(nnx.Module):
    """Unpadded convolutions; the first is normalised per channel over the whole time axis."""

    def __init__(
        self, in_channels: int, channels: Sequence[int], kernels: Sequence[int],
        strides: Sequence[int], *, dtype: jnp.dtype, rngs: nnx.Rngs,
    ):
        widths = (in_channels, *channels)
        self.convs = nnx.List([
            nnx.Conv(
                widths[i], widths[i + 1], (kernel,), (stride,), padding="VALID", use_bias=False,
                kernel_init=_KAIMING, conv_general_dilated=convolve, dtype=dtype, rngs=rngs,
            )
            for i, (kernel, stride) in enumerate(zip(kernels, strides, strict=True))
        ])
        self.norm = nnx.GroupNorm(
            widths[1], num_groups=widths[1], epsilon=1e-5, use_fast_variance=False,
            dtype=dtype, rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, samples, in_channels) -> (batch, tokens, channels)."""
        stride, features = self.convs[0].strides[0], self.convs[0].out_features
        return in_groups(self._stem, x, x.dtype.itemsize * x.shape[1] // stride * features)

    def _stem(self, x: jax.Array) -> jax.Array:
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = gelu(self.norm(x) if i == 0 else x)
        return x


class Attention(nnx.Module):
    """Multi-head self-attention with four biased projections."""

    def __init__(self, features: int, num_heads: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (
            linear(features, features, dtype=dtype, rngs=rngs) for _ in range(4)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = jnp.asarray((x.shape[-1] // self.num_heads) ** -0.5, x.dtype)
        q, k, v = (
            split_heads(part, self.num_heads)
            for part in (self.query(x) * scale, self.key(x), self.value(x))
        )
        return self.out(merge_heads(attention(q, k, v)))


class Layer(nnx.Module):
    """Transformer layer, norms after each residual sum or (`norm_first`) before each branch."""

    def __init__(
        self, features: int, num_heads: int, mlp_features: int, *, norm_first: bool = False,
        dtype: jnp.dtype, rngs: nnx.Rngs,
    ):
        self.norm_first = norm_first
        self.attention = Attention(features, num_heads, dtype=dtype, rngs=rngs)
        self.attention_norm = layer_norm(features, dtype=dtype, rngs=rngs)
        self.mlp_in = linear(features, mlp_features, dtype=dtype, rngs=rngs)
        self.mlp_out = linear(mlp_features, features, dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(features, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, tokens, features) -> the same."""
        hidden = self.mlp_in.out_features
        return in_groups(self._layer, x, x.dtype.itemsize * x.shape[1] * hidden)

    def _layer(self, x: jax.Array) -> jax.Array:
        if self.norm_first:
            x = x + self.attention(self.attention_norm(x))
            return x + self._mlp(self.mlp_norm(x))
        x = self.attention_norm(x + self.attention(x))
        return self.mlp_norm(x + self._mlp(x))

    def _mlp(self, x: jax.Array) -> jax.Array:
        return self.mlp_out(gelu(self.mlp_in(x)))


def position_conv(
    features: int, kernel: int, groups: int, kernel_init: nnx.initializers.Initializer, *,
    dtype: jnp.dtype, rngs: nnx.Rngs,
) -> nnx.Conv:
    """Returns the grouped convolution over tokens that tells positions apart."""
    return nnx.Conv(
        features, features, (kernel,), padding=((kernel // 2, kernel // 2),),
        feature_group_count=groups, kernel_init=kernel_init, conv_general_dilated=convolve,
        dtype=dtype, rngs=rngs,
    )


def add_positions(x: jax.Array, conv: nnx.Conv) -> jax.Array:
    """(batch, tokens, features) -> the same with the positional convolution added."""
    # An even kernel with half of it padded on both sides gives one frame too many.
    return x + gelu(conv(x)[:, : x.shape[1]])


def linear(fan_in: int, fan_out: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(fan_in, fan_out, kernel_init=_NORMAL, dtype=dtype, rngs=rngs)


def layer_norm(dim: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(dim, epsilon=1e-5, use_fast_variance=False, dtype=dtype, rngs=rngs)


def weight_normed_conv(target: str, source: str) -> list[sd.Entry]:
    """A convolution whose kernel is stored as gain and direction."""
    parts = tuple(f"{source}.parametrizations.weight.original{k}" for k in (0, 1))
    return [
        sd.Entry(f"{target}.kernel", parts, sd.WEIGHT_NORM),
        sd.entry(f"{target}.bias", f"{source}.bias"),
    ]


def spell_weight_norm(
    state_dict: Mapping[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """Renames `source`'s gain and direction as torch.nn.utils.parametrizations spells them."""
    spelling = {
        f"{source}.weight_g": f"{source}.parametrizations.weight.original0",
        f"{source}.weight_v": f"{source}.parametrizations.weight.original1",
    }
    return {spelling.get(name, name): array for name, array in state_dict.items()}
