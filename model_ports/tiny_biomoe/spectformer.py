"""SpectFormer (Patro et al., 2023), the first expert: two stages gate spatial frequencies, two
attend; a class token then gathers the last stage."""

import jax
import jax.numpy as jnp
from flax import nnx

from model_ports import initialisers
from model_ports import state_dict as sd
from model_ports.batch_groups import in_groups
from model_ports.batch_norm import BatchNorm, batch_norm
from model_ports.layers import attention, gelu, merge_heads, split_heads
from model_ports.tiny_biomoe.config import TinyBiomoeConfig
from model_ports.tiny_biomoe.convolutions import (
    DEPTHWISE,
    Depthwise,
    as_image,
    as_tokens,
    conv2d,
    with_bias,
)

_LINEAR = initialisers.normal(0.02)
_CONV = initialisers.variance_scaling(2.0, "fan_out", "normal")
_DEPTHWISE = initialisers.normal((2 / 9) ** 0.5)


class Stem(nnx.Module):
    """Image -> tokens of the first stage, each side divided by 4."""

    def __init__(self, config: TinyBiomoeConfig, *, rngs: nnx.Rngs):
        hidden, dtype = config.stem_features, jnp.dtype(config.dtype)
        self.convs = nnx.List([
            conv2d(fan_in, hidden, width, stride, dtype, rngs, kernel_init=_CONV)
            for fan_in, width, stride in ((3, 7, 2), (hidden, 3, 1), (hidden, 3, 1))
        ])
        self.norms = nnx.List([BatchNorm(hidden) for _ in range(3)])
        self.down = Down(hidden, config.spect_features[0], dtype, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """(batch, height, width, 3) -> (batch, tokens, features)."""
        features = self.convs[0].out_features
        pixels = image.shape[1] * image.shape[2] // 4
        return in_groups(self._stem, image, image.dtype.itemsize * pixels * features)

    def _stem(self, image: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            image = jax.nn.relu(norm(conv(image)))
        return self.down(image)


class Down(nnx.Module):
    """Image -> tokens of half the height and width."""

    def __init__(self, fan_in: int, fan_out: int, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.proj = conv2d(
            fan_in, fan_out, 3, 2, dtype, rngs, use_bias=True, kernel_init=_CONV
        )
        self.norm = _layer_norm(fan_out, dtype, rngs, epsilon=1e-5)

    def __call__(self, image: jax.Array) -> jax.Array:
        return self.norm(as_tokens(self.proj(image)))


class SpectralGate(nnx.Module):
    """A learned complex weight per channel and spatial frequency."""

    def __init__(self, features: int, side: int, *, rngs: nnx.Rngs):
        self.side = side
        shape = (side, side // 2 + 1, features, 2)
        self.complex_weight = nnx.Param(initialisers.normal(0.02)(rngs.params(), shape))

    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.complex_weight[...]
        image = as_image(x, self.side).astype(jnp.float32)
        spectrum = jnp.fft.rfft2(image, axes=(1, 2), norm="ortho")
        spectrum = spectrum * jax.lax.complex(weight[..., 0], weight[..., 1])
        image = jnp.fft.irfft2(spectrum, s=(self.side,) * 2, axes=(1, 2), norm="ortho")
        return as_tokens(image).astype(x.dtype)


class Attention(nnx.Module):
    def __init__(self, features: int, num_heads: int, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.q = _linear(features, features, dtype, rngs)
        self.kv = _linear(features, 2 * features, dtype, rngs)
        self.proj = _linear(features, features, dtype, rngs)

    def __call__(self, x: jax.Array, queries: jax.Array | None = None) -> jax.Array:
        """Attends over `x`, (batch, tokens, features), from every token or from `queries`."""
        scale = jnp.asarray((x.shape[-1] // self.num_heads) ** -0.5, x.dtype)
        q = self.q(x if queries is None else queries) * scale
        k, v = jnp.split(self.kv(x), 2, axis=-1)
        q, k, v = (split_heads(part, self.num_heads) for part in (q, k, v))
        return self.proj(merge_heads(attention(q, k, v)))


class ConvMlp(nnx.Module):
    """A two-layer perceptron with a depthwise convolution inside."""

    def __init__(self, features: int, hidden: int, side: int, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.side = side
        self.fc1 = _linear(features, hidden, dtype, rngs)
        self.dwconv = Depthwise(hidden, 3, use_bias=True, kernel_init=_DEPTHWISE, rngs=rngs)
        self.fc2 = _linear(hidden, features, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = self.dwconv(as_image(self.fc1(x), self.side))
        return self.fc2(gelu(as_tokens(hidden)))


class Block(nnx.Module):
    """Pre-norm block: spectral gate (stages 0, 1) or attention (2, 3), then the perceptron."""

    def __init__(self, config: TinyBiomoeConfig, stage: int, *, rngs: nnx.Rngs):
        features, side = config.spect_features[stage], config.spect_sides[stage]
        dtype = jnp.dtype(config.dtype)
        self.norm1 = _layer_norm(features, dtype, rngs)
        self.norm2 = _layer_norm(features, dtype, rngs)
        self.attn = (
            SpectralGate(features, side, rngs=rngs)
            if stage < 2
            else Attention(features, config.attention_heads[stage - 2], dtype, rngs=rngs)
        )
        self.mlp = ConvMlp(features, config.mlp_ratios[stage] * features, side, dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, tokens, features) -> the same."""
        hidden = self.mlp.fc1.out_features
        return in_groups(self._block, x, x.dtype.itemsize * x.shape[1] * hidden)

    def _block(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClassBlock(nnx.Module):
    """Changes token 0, which attends over all; the others pass through."""

    def __init__(self, config: TinyBiomoeConfig, *, rngs: nnx.Rngs):
        features, dtype = config.expert_features, jnp.dtype(config.dtype)
        hidden = config.mlp_ratios[3] * features
        self.norm1 = _layer_norm(features, dtype, rngs)
        self.norm2 = _layer_norm(features, dtype, rngs)
        self.attn = Attention(features, config.attention_heads[1], dtype, rngs=rngs)
        self.fc1 = _linear(features, hidden, dtype, rngs)
        self.fc2 = _linear(hidden, features, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        normed = self.norm1(x)
        cls = x[:, :1] + self.attn(normed, normed[:, :1])
        cls = cls + self.fc2(gelu(self.fc1(self.norm2(cls))))
        return jnp.concatenate([cls, x[:, 1:]], axis=1)


class SpectFormer(nnx.Module):
    """The parts of the expert; layers 0 to 3 are `blocks`, layer 4 is `class_block`."""

    def __init__(self, config: TinyBiomoeConfig, *, rngs: nnx.Rngs):
        widths, dtype = config.spect_features, jnp.dtype(config.dtype)
        self.sides = config.spect_sides
        self.stem = Stem(config, rngs=rngs)
        self.downs = nnx.List([Down(widths[i], widths[i + 1], dtype, rngs=rngs) for i in range(3)])
        self.blocks = nnx.List([Block(config, i, rngs=rngs) for i in range(4)])
        self.norms = nnx.List([_layer_norm(width, dtype, rngs) for width in widths])
        self.class_block = ClassBlock(config, rngs=rngs)

    def enter(self, stage: int, tokens: jax.Array) -> jax.Array:
        """Output of the stage before -> input of `stage` (1 to 3), or of the class block (4)."""
        if stage == 4:
            return jnp.concatenate([jnp.mean(tokens, axis=1, keepdims=True), tokens], axis=1)
        before = self.norms[stage - 1](tokens)
        return self.downs[stage - 1](as_image(before, self.sides[stage - 1]))

    def result(self, tokens: jax.Array) -> jax.Array:
        """Output of the class block -> (batch, features)."""
        return self.norms[3](tokens[:, 0])


def _linear(fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(fan_in, fan_out, kernel_init=_LINEAR, dtype=dtype, rngs=rngs)


def _layer_norm(
    features: int, dtype: jnp.dtype, rngs: nnx.Rngs, epsilon: float = 1e-6
) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        features, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs
    )


def entries(ours: str, theirs: str) -> list[sd.Entry]:
    """The published entries of a `SpectFormer`."""
    out = []
    for i in range(3):
        stem = f"{theirs}.patch_embed1.conv"
        out.append(sd.entry(f"{ours}.stem.convs.{i}.kernel", f"{stem}.{3 * i}.weight", sd.CONV2D))
        out += batch_norm(f"{ours}.stem.norms.{i}", f"{stem}.{3 * i + 1}")
    for i in range(4):
        down = f"{ours}.stem.down" if i == 0 else f"{ours}.downs.{i - 1}"
        out += with_bias(f"{down}.proj", f"{theirs}.patch_embed{i + 1}.proj", sd.CONV2D)
        out += sd.norm(f"{down}.norm", f"{theirs}.patch_embed{i + 1}.norm")
        out += sd.norm(f"{ours}.norms.{i}", f"{theirs}.norm{i + 1}")
        a, b = f"{ours}.blocks.{i}", f"{theirs}.block{i + 1}.0"
        out += sd.norm(f"{a}.norm1", f"{b}.norm1") + sd.norm(f"{a}.norm2", f"{b}.norm2")
        if i < 2:
            out.append(sd.entry(f"{a}.attn.complex_weight", f"{b}.attn.complex_weight"))
        else:
            out += _attention_entries(f"{a}.attn", f"{b}.attn")
        out += sd.linear(f"{a}.mlp.fc1", f"{b}.mlp.fc1") + sd.linear(f"{a}.mlp.fc2", f"{b}.mlp.fc2")
        out += with_bias(f"{a}.mlp.dwconv", f"{b}.mlp.dwconv.dwconv", DEPTHWISE)
    a, b = f"{ours}.class_block", f"{theirs}.post_network.0"
    out += sd.norm(f"{a}.norm1", f"{b}.norm1") + sd.norm(f"{a}.norm2", f"{b}.norm2")
    out += _attention_entries(f"{a}.attn", f"{b}.attn")
    return out + sd.linear(f"{a}.fc1", f"{b}.mlp.fc1") + sd.linear(f"{a}.fc2", f"{b}.mlp.fc2")


def _attention_entries(ours: str, theirs: str) -> list[sd.Entry]:
    names = ("q", "kv", "proj")
    return [e for name in names for e in sd.linear(f"{ours}.{name}", f"{theirs}.{name}")]
