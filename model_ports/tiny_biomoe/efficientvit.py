"""EfficientViT (Liu et al., CVPR 2023), the second expert: convolutions and cascaded attention.

Every convolution is followed by batch normalisation. All layers take and give tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports import torch_init
from model_ports.batch_groups import in_groups
from model_ports.tiny_biomoe.config import TinyBiomoeConfig
from model_ports.tiny_biomoe.convolutions import (
    DEPTHWISE,
    POINTWISE,
    Depthwise,
    Normed,
    as_image,
    as_tokens,
    conv2d,
    normed,
    pointwise,
    with_bias,
)


class PatchEmbed(nnx.Module):
    """Four convolutions of stride 2: pixels -> tokens of the first stage."""

    def __init__(self, config: TinyBiomoeConfig, *, rngs: nnx.Rngs):
        self.side = config.image_size
        widths = (3, *(config.vit_features[0] // n for n in (8, 4, 2, 1)))
        self.convs = nnx.List([
            Normed(conv2d(widths[i], widths[i + 1], 3, 2, jnp.dtype(config.dtype), rngs),
                   widths[i + 1])
            for i in range(4)
        ])

    def __call__(self, tokens: jax.Array) -> jax.Array:
        features = self.convs[0].conv.out_features
        return in_groups(
            self._embed, tokens, tokens.dtype.itemsize * tokens.shape[1] // 4 * features
        )

    def _embed(self, tokens: jax.Array) -> jax.Array:
        image = as_image(tokens, self.side)
        for i, conv in enumerate(self.convs):
            image = conv(image if i == 0 else jax.nn.relu(image))
        return as_tokens(image)


class Mlp(nnx.Module):
    """Residual perceptron on the channels."""

    def __init__(self, features: int, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        hidden = 2 * features
        self.pw1 = Normed(pointwise(features, hidden, dtype, rngs), hidden)
        self.pw2 = Normed(pointwise(hidden, features, dtype, rngs), features, ends_branch=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.pw2(jax.nn.relu(self.pw1(x)))


class Mixing(nnx.Module):
    """Residual depthwise convolution, then `Mlp`."""

    def __init__(self, config: TinyBiomoeConfig, stage: int, *, rngs: nnx.Rngs):
        features, self.side = config.vit_features[stage], config.vit_sides[stage]
        self.dw = Normed(Depthwise(features, 3, rngs=rngs), features, ends_branch=True)
        self.ffn = Mlp(features, jnp.dtype(config.dtype), rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        image = as_image(tokens, self.side)
        return as_tokens(self.ffn(image + self.dw(image)))


class CascadedAttention(nnx.Module):
    """Each head attends with its share of the channels plus what the head before it gave."""

    def __init__(self, config: TinyBiomoeConfig, stage: int, *, rngs: nnx.Rngs):
        features, self.num_heads = config.vit_features[stage], config.vit_heads[stage]
        self.key_features = keys = config.key_features
        self.side = min(config.window, config.vit_sides[stage])
        dtype, share = jnp.dtype(config.dtype), features // self.num_heads
        self.qkvs = nnx.List([
            Normed(pointwise(share, 2 * keys + share, dtype, rngs), 2 * keys + share)
            for _ in range(self.num_heads)
        ])
        self.dws = nnx.List([
            Normed(Depthwise(keys, config.query_kernels[i], rngs=rngs), keys)
            for i in range(self.num_heads)
        ])
        self.proj = Normed(pointwise(features, features, dtype, rngs), features, ends_branch=True)
        self.attention_biases = nnx.Param(jnp.zeros((self.num_heads, self.side**2), jnp.float32))

    def __call__(self, windows: jax.Array) -> jax.Array:
        """(windows, tokens, features) -> the same."""
        scale = jnp.asarray(self.key_features**-0.5, windows.dtype)
        biases = self.attention_biases[...][:, _distances(self.side)]
        given, out = 0, []
        for i, share in enumerate(jnp.split(windows, self.num_heads, axis=-1)):
            qkv = self.qkvs[i](share + given)
            q, k, v = jnp.split(qkv, (self.key_features, 2 * self.key_features), axis=-1)
            q = as_tokens(self.dws[i](as_image(q, self.side))) * scale
            logits = jnp.einsum("bqd,bkd->bqk", q, k).astype(jnp.float32) + biases[i]
            given = jnp.einsum("bqk,bkd->bqd", jax.nn.softmax(logits).astype(v.dtype), v)
            out.append(given)
        return self.proj(jax.nn.relu(jnp.concatenate(out, axis=-1)))


def _distances(side: int) -> np.ndarray:
    """Index of the bias by vertical and horizontal distance, (side * side, side * side)."""
    y, x = np.divmod(np.arange(side**2), side)
    return np.abs(y[:, None] - y) * side + np.abs(x[:, None] - x)


class Block(nnx.Module):
    """Mixing, attention within windows, mixing."""

    def __init__(self, config: TinyBiomoeConfig, stage: int, *, rngs: nnx.Rngs):
        self.side = config.vit_sides[stage]
        self.mixing0 = Mixing(config, stage, rngs=rngs)
        self.attn = CascadedAttention(config, stage, rngs=rngs)
        self.mixing1 = Mixing(config, stage, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        tokens = self.mixing0(tokens)
        windows = _to_windows(tokens, self.side, self.attn.side)
        tokens = tokens + _from_windows(self.attn(windows), self.side, self.attn.side)
        return self.mixing1(tokens)


def _to_windows(tokens: jax.Array, side: int, window: int) -> jax.Array:
    """(batch, side * side, features) -> (batch * windows, window * window, features)."""
    count = side // window
    batch, _, features = tokens.shape
    x = tokens.reshape(batch, count, window, count, window, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch * count**2, window**2, features)


def _from_windows(windows: jax.Array, side: int, window: int) -> jax.Array:
    count = side // window
    batch, features = windows.shape[0] // count**2, windows.shape[-1]
    x = windows.reshape(batch, count, count, window, window, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, side**2, features)


class PatchMerging(nnx.Module):
    """Halves height and width, with squeeze-and-excitation in between."""

    def __init__(self, config: TinyBiomoeConfig, stage: int, *, rngs: nnx.Rngs):
        self.side = config.vit_sides[stage]
        features, out = config.vit_features[stage : stage + 2]
        hidden, dtype = 4 * features, jnp.dtype(config.dtype)
        self.conv1 = Normed(pointwise(features, hidden, dtype, rngs), hidden)
        self.conv2 = Normed(Depthwise(hidden, 3, stride=2, rngs=rngs), hidden)
        self.squeeze = _excitation(hidden, features, rngs)
        self.excite = _excitation(features, hidden, rngs)
        self.conv3 = Normed(pointwise(hidden, out, dtype, rngs), out)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.conv1(as_image(tokens, self.side)))
        x = as_tokens(jax.nn.relu(self.conv2(x)))
        mean = jnp.mean(x.astype(jnp.float32), axis=1, keepdims=True)
        gate = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(mean))))
        return self.conv3(x * gate.astype(x.dtype))


def _excitation(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, kernel_init=torch_init.kernel_init, bias_init=torch_init.bias_init(fan_in),
        rngs=rngs,
    )


def layers(config: TinyBiomoeConfig, *, rngs: nnx.Rngs) -> list[nnx.Module]:
    """The expert's ten layers, tokens -> tokens."""
    out: list[nnx.Module] = [PatchEmbed(config, rngs=rngs), Block(config, 0, rngs=rngs)]
    for stage in (1, 2):
        out += [
            Mixing(config, stage - 1, rngs=rngs),
            PatchMerging(config, stage - 1, rngs=rngs),
            Mixing(config, stage, rngs=rngs),
            Block(config, stage, rngs=rngs),
        ]
    return out


def entries(ours: str, theirs: str, config: TinyBiomoeConfig) -> list[sd.Entry]:
    """The published entries of `layers`."""
    out = [
        e
        for i in range(4)
        for e in normed(f"{ours}.0.convs.{i}", f"{theirs}.patch_embed.{2 * i}", sd.CONV2D)
    ]
    out += _block_entries(f"{ours}.1", f"{theirs}.blocks1.0", config.vit_heads[0])
    for stage in (1, 2):
        first, blocks = 4 * stage - 2, f"{theirs}.blocks{stage + 1}"
        for i in (0, 2):
            out += _mixing_entries(f"{ours}.{first + i}", f"{blocks}.{i}.0", f"{blocks}.{i}.1")
        merging = f"{ours}.{first + 1}"
        for name, layout in (("conv1", POINTWISE), ("conv2", DEPTHWISE), ("conv3", POINTWISE)):
            out += normed(f"{merging}.{name}", f"{blocks}.1.{name}", layout)
        for a, b in (("squeeze", "fc1"), ("excite", "fc2")):
            out += with_bias(f"{merging}.{a}", f"{blocks}.1.se.{b}", POINTWISE)
        out += _block_entries(f"{ours}.{first + 3}", f"{blocks}.3", config.vit_heads[stage])
    return out


def _mixing_entries(ours: str, dw: str, ffn: str) -> list[sd.Entry]:
    out = normed(f"{ours}.dw", f"{dw}.m", DEPTHWISE)
    for name in ("pw1", "pw2"):
        out += normed(f"{ours}.ffn.{name}", f"{ffn}.m.{name}", POINTWISE)
    return out


def _block_entries(ours: str, theirs: str, num_heads: int) -> list[sd.Entry]:
    out = []
    for i in (0, 1):
        out += _mixing_entries(f"{ours}.mixing{i}", f"{theirs}.dw{i}", f"{theirs}.ffn{i}")
    a, b = f"{ours}.attn", f"{theirs}.mixer.m.attn"
    out.append(sd.entry(f"{a}.attention_biases", f"{b}.attention_biases"))
    for i in range(num_heads):
        out += normed(f"{a}.qkvs.{i}", f"{b}.qkvs.{i}", POINTWISE)
        out += normed(f"{a}.dws.{i}", f"{b}.dws.{i}", DEPTHWISE)
    return out + normed(f"{a}.proj", f"{b}.proj.1", POINTWISE)
