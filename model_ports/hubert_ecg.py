"""HuBERT-ECG: HuBERT over ECG leads laid end to end (Coppola et al., 2024).

Published code and weights: github.com/Edoar-do/HuBERT-ECG. A signal is (batch, samples):
z-normalised ECG at 100 Hz, the leads one after the other in time. The published pre-training took
12 leads x 5 s; BioX-Bridge feeds one lead of 30 or 60 s.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports.encoder import Encoder, EncoderConfig, check_signal
from model_ports.errors import InputError
from model_ports.layers import attention, gelu, merge_heads, split_heads
from model_ports.port import Port

_POS_CONV = "encoder.pos_conv_embed.conv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubertEcgConfig(EncoderConfig):
    """HuBERT-ECG's hyper-parameters; the defaults are the published small model."""

    name: str = "hubert_ecg_small"
    sampling_rate_hz: float = 100.0
    unit: str = "z-score"
    depth: int = 8
    features: int = 512
    num_heads: int = 8
    mlp_features: int = 2048
    conv_channels: tuple[int, ...] = (512, 512, 512, 512, 512)
    conv_kernels: tuple[int, ...] = (10, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (4, 2, 2, 2, 2)
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
        for kernel, stride in zip(self.conv_kernels[::-1], self.conv_strides[::-1], strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


class FeatureExtractor(nnx.Module):
    """Unpadded convolutions; the first is normalised per channel over the whole time axis."""

    def __init__(self, config: HubertEcgConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        channels = (1, *config.conv_channels)
        self.convs = nnx.List([
            nnx.Conv(
                channels[i], channels[i + 1], (kernel,), (stride,), padding="VALID",
                use_bias=False, kernel_init=_CONV, dtype=dtype, rngs=rngs,
            )
            for i, (kernel, stride) in enumerate(
                zip(config.conv_kernels, config.conv_strides, strict=True)
            )
        ])
        self.norm = nnx.GroupNorm(
            channels[1], num_groups=channels[1], epsilon=1e-5, use_fast_variance=False,
            dtype=dtype, rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, samples, 1) -> (batch, tokens, channels)."""
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = gelu(self.norm(x) if i == 0 else x)
        return x


class Attention(nnx.Module):
    def __init__(self, config: HubertEcgConfig, *, rngs: nnx.Rngs):
        self.num_heads = config.num_heads
        self.query, self.key, self.value, self.out = (
            _linear(config.features, config.features, config, rngs) for _ in range(4)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = jnp.asarray((x.shape[-1] // self.num_heads) ** -0.5, x.dtype)
        q, k, v = (
            split_heads(part, self.num_heads)
            for part in (self.query(x) * scale, self.key(x), self.value(x))
        )
        return self.out(merge_heads(attention(q, k, v)))


class Layer(nnx.Module):
    """Post-norm transformer layer."""

    def __init__(self, config: HubertEcgConfig, *, rngs: nnx.Rngs):
        self.attention = Attention(config, rngs=rngs)
        self.attention_norm = _layer_norm(config.features, config, rngs)
        self.mlp_in = _linear(config.features, config.mlp_features, config, rngs)
        self.mlp_out = _linear(config.mlp_features, config.features, config, rngs)
        self.mlp_norm = _layer_norm(config.features, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.attention_norm(x + self.attention(x))
        return self.mlp_norm(x + self.mlp_out(gelu(self.mlp_in(x))))


class HubertEcg(Encoder):
    """HuBERT-ECG as an encoder: one token per 64 samples."""

    def __init__(self, config: HubertEcgConfig, *, rngs: nnx.Rngs):
        self.config = config
        dim, dtype = config.features, jnp.dtype(config.dtype)
        self.feature_extractor = FeatureExtractor(config, rngs=rngs)
        self.projection_norm = _layer_norm(config.conv_channels[-1], config, rngs)
        self.projection = _linear(config.conv_channels[-1], dim, config, rngs)
        half = config.position_kernel // 2
        self.position_conv = nnx.Conv(
            dim, dim, (config.position_kernel,), padding=((half, half),),
            feature_group_count=config.position_groups,
            # weight norm shields this kernel from the published initialiser: PyTorch's default
            kernel_init=nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            dtype=dtype, rngs=rngs,
        )
        self.norm = _layer_norm(dim, config, rngs)
        self.layers = nnx.List([Layer(config, rngs=rngs) for _ in range(config.depth)])

    @property
    def num_layers(self) -> int:
        return self.config.depth

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, samples), z-scored at 100 Hz, leads end to end -> (batch, tokens, features)."""
        check_signal(signal, ("batch", "samples"), "HuBERT-ECG")
        if signal.shape[1] < self.config.min_samples:
            raise InputError(
                f"HuBERT-ECG needs at least {self.config.min_samples} samples "
                f"({self.config.min_samples / self.config.sampling_rate_hz:g} s), "
                f"not {signal.shape[1]}."
            )
        x = self.feature_extractor(jnp.asarray(signal, jnp.dtype(self.config.dtype))[..., None])
        x = self.projection(self.projection_norm(x))
        # An even kernel with half of it padded on both sides gives one frame too many.
        x = x + gelu(self.position_conv(x)[:, : x.shape[1]])
        return self.norm(x)

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        del context
        return self.layers[i](tokens)


_CONV = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")
_NORMAL = nnx.initializers.normal(0.02)


def _linear(fan_in: int, fan_out: int, config: HubertEcgConfig, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, kernel_init=_NORMAL, dtype=jnp.dtype(config.dtype), rngs=rngs
    )


def _layer_norm(dim: int, config: HubertEcgConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        dim, epsilon=1e-5, use_fast_variance=False, dtype=jnp.dtype(config.dtype), rngs=rngs
    )


def entries(config: HubertEcgConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [
        sd.entry(
            f"feature_extractor.convs.{i}.kernel",
            f"feature_extractor.conv_layers.{i}.conv.weight",
            sd.CONV1D,
        )
        for i in range(len(config.conv_kernels))
    ]
    out += sd.norm("feature_extractor.norm", "feature_extractor.conv_layers.0.layer_norm")
    out += sd.norm("projection_norm", "feature_projection.layer_norm")
    out += sd.linear("projection", "feature_projection.projection")
    out += [
        sd.Entry(
            "position_conv.kernel",
            tuple(f"{_POS_CONV}.parametrizations.weight.original{k}" for k in (0, 1)),
            sd.WEIGHT_NORM,
        ),
        sd.entry("position_conv.bias", f"{_POS_CONV}.bias"),
    ]
    out += sd.norm("norm", "encoder.layer_norm")
    for i in range(config.depth):
        ours, theirs = f"layers.{i}", f"encoder.layers.{i}"
        for a, b in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")):
            out += sd.linear(f"{ours}.attention.{a}", f"{theirs}.attention.{b}_proj")
        out += sd.norm(f"{ours}.attention_norm", f"{theirs}.layer_norm")
        out += sd.linear(f"{ours}.mlp_in", f"{theirs}.feed_forward.intermediate_dense")
        out += sd.linear(f"{ours}.mlp_out", f"{theirs}.feed_forward.output_dense")
        out += sd.norm(f"{ours}.mlp_norm", f"{theirs}.final_layer_norm")
    return out


def canonical(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spells the weight-normed convolution as torch.nn.utils.parametrizations does."""
    spelling = {
        f"{_POS_CONV}.weight_g": f"{_POS_CONV}.parametrizations.weight.original0",
        f"{_POS_CONV}.weight_v": f"{_POS_CONV}.parametrizations.weight.original1",
    }
    return {spelling.get(name, name): array for name, array in state_dict.items()}


PORTS = (
    Port(
        name="hubert_ecg_small",
        module=HubertEcg,
        config=HubertEcgConfig(),
        entries=entries,
        canonical=canonical,
        # pre-training heads, whose sizes differ from checkpoint to checkpoint
        ignored=(r"masked_spec_embed", r"final_proj\..*", r"label_embedding\..*"),
    ),
)
