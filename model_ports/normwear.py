"""NormWear: a transformer over wavelet scalograms of wearable signals (Luo et al., 2024).

Published code and weights: github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear. A signal is
(batch, channels, samples), z-scored per channel. Every channel becomes a scalogram of its own
(see `model_ports.ricker`), cut into patches of 9 samples x 5 scales; in every second layer the
channels exchange what their class tokens hold.

At the layer boundaries tokens are channel-major, (batch, channels * patches, features), and the
patches of a channel are its class token and then 13 patches (scales) per 9 samples. So
tokens = channels * (1 + 13 * rows), which equals the number of channels modulo 13: up to 13
channels the tokens tell how many there are. More are told by `context`, an array of shape
(batch, channels) whose values mean nothing. Where it is left out, tokens are read as those of at
most 13 channels, which is refused where it cannot be; it sometimes can (16 channels of 66 tokens
make as many as 3 of 352), so with more than 13 channels always pass it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import initialisers, ricker, torch_init
from model_ports import state_dict as sd
from model_ports.batch_groups import in_groups
from model_ports.encoder import Encoder, EncoderConfig, check_signal
from model_ports.errors import InputError
from model_ports.layers import attention, gelu, merge_heads, split_heads
from model_ports.port import Port, Prefix
from model_ports.recording_checks import check_description, check_samples
from model_ports.resampling import resample
from model_ports.scaling import to_unit_peak, zscore

_PATCH_ROWS, _PATCH_SCALES = 9, 5
_COLUMNS = ricker.NUM_SCALES // _PATCH_SCALES
_SERIES = 3  # the signal and its first two differences
# Half the 65 Hz of the published code, rounded: wearables' slowest accelerometers.
_MIN_SAMPLING_RATE_HZ = 32.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormwearConfig(EncoderConfig):
    """NormWear's hyper-parameters; the defaults are the published model as BioX-Bridge runs it.

    Attributes:
        sampling_rate_hz: 130 Hz, at which BioX-Bridge feeds 3 s; the published code states 65 Hz
            (6 s make the same 390 samples).
        position_rows: rows (of 9 samples) of the position table. Another number of rows in the
            signal takes the table resized by bicubic interpolation, as published.
        fusion_every: layers between two exchanges among channels; the first layer has one.
        scalogram: "scipy" or "torch", see `model_ports.ricker`.
        layer_norm_epsilon: of the blocks. 1e-5 is what the reference pins; NormWear's own
            repository moved to 1e-6 later, which changes the embedding by 7e-4.
    """

    name: str = "normwear"
    sampling_rate_hz: float = 130.0
    unit: str = "z-score"
    depth: int = 12
    features: int = 768
    num_heads: int = 12
    mlp_features: int = 3072
    position_rows: int = 43
    fusion_every: int = 2
    scalogram: str = "scipy"
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scalogram not in ("scipy", "torch"):
            raise InputError(f"scalogram is {self.scalogram!r}; use 'scipy' or 'torch'.")
        if self.features % self.num_heads or self.features % 4:
            raise InputError(
                f"features={self.features} must be a multiple of 4 and of "
                f"num_heads={self.num_heads}."
            )


class Attention(nnx.Module):
    def __init__(self, config: NormwearConfig, *, rngs: nnx.Rngs):
        self.num_heads = config.num_heads
        self.qkv = _linear(config.features, 3 * config.features, config, rngs)
        self.proj = _linear(config.features, config.features, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (
            split_heads(part, self.num_heads) for part in jnp.split(self.qkv(x), 3, axis=-1)
        )
        q = q * jnp.asarray(q.shape[-1] ** -0.5, x.dtype)
        return self.proj(merge_heads(attention(q, k, v)))


class Mlp(nnx.Module):
    def __init__(self, config: NormwearConfig, *, rngs: nnx.Rngs):
        self.fc1 = _linear(config.features, config.mlp_features, config, rngs)
        self.fc2 = _linear(config.mlp_features, config.features, config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(gelu(self.fc1(x)))


class Block(nnx.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: NormwearConfig, *, rngs: nnx.Rngs):
        self.norm1 = _layer_norm(config, rngs)
        self.attn = Attention(config, rngs=rngs)
        self.norm2 = _layer_norm(config, rngs)
        self.mlp = Mlp(config, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(sequences, tokens, features) -> the same."""
        hidden = self.mlp.fc1.out_features
        return in_groups(self._block, x, x.dtype.itemsize * x.shape[1] * hidden)

    def _block(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Layer(nnx.Module):
    """A block over the patches of each channel, then perhaps one over the class tokens."""

    def __init__(self, config: NormwearConfig, index: int, *, rngs: nnx.Rngs):
        self.variate_encoder = Block(config, rngs=rngs)
        self.cls_fusion = (
            Block(config, rngs=rngs) if index % config.fusion_every == 0 else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, channels, patches, features) -> the same."""
        batch, channels, patches, dim = x.shape
        x = self.variate_encoder(x.reshape(batch * channels, patches, dim))
        x = x.reshape(batch, channels, patches, dim)
        if self.cls_fusion is None:
            return x
        return jnp.concatenate([self.cls_fusion(x[:, :, 0])[:, :, None], x[:, :, 1:]], axis=2)


class Normwear(Encoder):
    """NormWear's encoder; the decoder of its pre-training is left out."""

    def __init__(self, config: NormwearConfig, *, rngs: nnx.Rngs):
        self.config = config
        dim = config.features
        fan_in = _PATCH_ROWS * _PATCH_SCALES * _SERIES
        self.patch_embed = nnx.Linear(
            fan_in, dim, dtype=jnp.dtype(config.dtype), rngs=rngs,
            kernel_init=torch_init.kernel_init, bias_init=torch_init.bias_init(fan_in),
        )
        self.cls_token = nnx.Param(initialisers.normal(0.02)(rngs.params(), (1, 1, dim)))
        # Published as a fixed table, stored in the file; no parameter to train.
        self.pos_embed = nnx.Variable(
            jnp.asarray(_sincos_table(config.position_rows, _COLUMNS, dim))
        )
        self.layers = nnx.List([Layer(config, i, rngs=rngs) for i in range(config.depth)])
        self.norm = nnx.LayerNorm(dim, epsilon=1e-5, use_fast_variance=False, rngs=rngs)

    @property
    def num_layers(self) -> int:
        return self.config.depth

    def prepare(
        self,
        recording: np.ndarray | jax.Array,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        resampling: str = "linear",
    ) -> jax.Array:
        """Resamples to `config.sampling_rate_hz` and z-scores each channel, as BioX-Bridge does.

        Args:
            recording: any wearable signals, (batch, channels, samples).
            sampling_rate_hz: at least 32 Hz.
            leads: a name per channel; any name. Channels are a set to the model: they keep their
                order.
            unit: moot, since channels are z-scored: "V", "mV", "uV", "a.u." or "counts".
            resampling: "linear", as BioX-Bridge does, or "polyphase", with an anti-alias filter.
                Linear interpolation folds what lies above half the new rate back into the band:
                for EMG at 500 Hz or more that is most of it.

        Returns:
            (batch, channels, samples at `config.sampling_rate_hz`); `embed` makes the scalograms.

        Raises:
            InputError: see `Encoder.prepare`.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="NormWear",
            min_sampling_rate_hz=_MIN_SAMPLING_RATE_HZ,
        )
        check_samples(given, "NormWear")
        signal = resample(
            to_unit_peak(given.signal), old_hz=given.sampling_rate_hz,
            new_hz=self.config.sampling_rate_hz, method=resampling,
        )
        self._check_length(signal.shape[2])
        return zscore(signal)

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, channels, samples) -> (batch, channels * patches, features).

        Each channel has patches = 1 + 13 * ((samples - 2) // 9), the class token first.
        """
        check_signal(signal, ("batch", "channels", "samples"), "NormWear")
        self._check_length(signal.shape[2])
        config = self.config
        dtype = jnp.dtype(config.dtype)
        image = ricker.scalogram(signal, config.scalogram)
        batch, channels, _, times, _ = image.shape
        rows = times // _PATCH_ROWS
        patches = image[..., : rows * _PATCH_ROWS, :].reshape(
            batch, channels, _SERIES, rows, _PATCH_ROWS, _COLUMNS, _PATCH_SCALES
        )
        patches = patches.transpose(0, 1, 3, 5, 4, 6, 2).reshape(
            batch, channels, rows * _COLUMNS, _PATCH_ROWS * _PATCH_SCALES * _SERIES
        )
        table = self._positions(rows)
        x = self.patch_embed(patches.astype(dtype)) + table[1:].astype(dtype)
        cls = self.cls_token[0] + table[:1]
        cls = jnp.broadcast_to(cls.astype(dtype), (batch, channels, *cls.shape))
        x = jnp.concatenate([cls, x], axis=2)
        return x.reshape(batch, channels * x.shape[2], config.features)

    def _check_length(self, samples: int) -> None:
        if samples - 2 < _PATCH_ROWS:
            raise InputError(
                f"NormWear needs at least {_PATCH_ROWS + 2} samples "
                f"({(_PATCH_ROWS + 2) / self.config.sampling_rate_hz:.3g} s), not {samples}."
            )

    def _positions(self, rows: int) -> jax.Array:
        """The position table for that many rows, (1 + 13 * rows, features)."""
        table = self.pos_embed[0]
        if rows == self.config.position_rows:
            return table
        grid = table[1:].reshape(self.config.position_rows, -1)
        weights = jnp.asarray(_bicubic_weights(self.config.position_rows, rows))
        grid = jnp.matmul(weights, grid, precision=jax.lax.Precision.HIGHEST)
        return jnp.concatenate([table[:1], grid.reshape(-1, table.shape[1])])

    def context(self, signal: jax.Array) -> Any:
        """Returns () up to 13 channels, else zeros (batch, channels) that tell how many."""
        batch, channels, _ = signal.shape
        return () if channels <= _COLUMNS else jnp.zeros((batch, channels))

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        return self.layers[i](_by_channel(tokens, context)).reshape(tokens.shape)

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        """LayerNorm of each channel's class token, (batch, channels, features), as published.

        One embedding per channel is what the published model ends with; the authors leave open how
        channels are put together (their README shows the mean and laying them end to end).

        Args:
            tokens: the last layer's output.
            context: see `run`; needed with more than 13 channels.
        """
        return self.norm(_by_channel(tokens, context)[:, :, 0])


def _by_channel(tokens: jax.Array, context: Any) -> jax.Array:
    """(batch, tokens, features) -> (batch, channels, patches, features)."""
    batch, num_tokens, dim = tokens.shape
    channels = (num_tokens % _COLUMNS or _COLUMNS) if isinstance(context, tuple) else (
        context.shape[-1]
    )
    patches, rest = divmod(num_tokens, channels)
    if rest or patches % _COLUMNS != 1 or patches == 1:
        raise InputError(
            f"{num_tokens} tokens are not those of NormWear, channels * (1 + {_COLUMNS} * rows)"
            f" with {channels} channels; with more than {_COLUMNS} channels pass "
            "context=encoder.context(signal)."
        )
    return tokens.reshape(batch, channels, patches, dim)


def _bicubic_weights(rows: int, new_rows: int) -> np.ndarray:
    """Resizing as a matrix, (new_rows, rows): cubic convolution (Keys 1981) with a = -0.75.

    As PyTorch's bicubic interpolation with align_corners=False and no antialiasing, whose
    positions are float32; rows beyond the ends repeat the end.
    """
    a, one = np.float32(-0.75), np.float32(1)
    centre = (np.arange(new_rows, dtype=np.float32) + np.float32(0.5)) * np.float32(
        rows / new_rows
    ) - np.float32(0.5)
    low = np.floor(centre)
    t = centre - low

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + one

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    weights = np.zeros((new_rows, rows), np.float32)
    for offset, share in ((-1, far(t + 1)), (0, near(t)), (1, near(one - t)), (2, far(2 - t))):
        at = np.clip(low.astype(int) + offset, 0, rows - 1)
        np.add.at(weights, (np.arange(new_rows), at), share)
    return weights


def _sincos_table(rows: int, columns: int, features: int) -> np.ndarray:
    """(1, 1 + rows * columns, features): sine and cosine of column, then of row (He et al. 2022).

    The class token's entry is zero.
    """
    omega = 1 / 10000 ** (np.arange(features // 4) / (features // 4))
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = [at[:, None] * omega for at in (column, row)]
    table = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, features)), table]).astype(np.float32)[None]


def _linear(fan_in: int, fan_out: int, config: NormwearConfig, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, kernel_init=initialisers.variance_scaling(1.0, "fan_avg", "uniform"),
        dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


def _layer_norm(config: NormwearConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.features, epsilon=config.layer_norm_epsilon, use_fast_variance=False,
        dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


# (out, in, height, width) -> (height * width * in, out): a convolution whose stride is its kernel
_PATCHES = sd.Layout(
    lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
    lambda s: ((s[1], _SERIES, _PATCH_ROWS, _PATCH_SCALES),),
)


def entries(config: NormwearConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [
        sd.entry("cls_token", "cls_token"),
        sd.entry("pos_embed", "pos_embed"),
        sd.entry("patch_embed.kernel", "patch_embed.proj.weight", _PATCHES),
        sd.entry("patch_embed.bias", "patch_embed.proj.bias"),
    ]
    for i in range(config.depth):
        blocks = ["variate_encoder"] + ["cls_fusion"] * (i % config.fusion_every == 0)
        for block in blocks:
            ours, theirs = f"layers.{i}.{block}", f"encoder_blocks.{i}.{block}"
            for name in ("norm1", "norm2"):
                out += sd.norm(f"{ours}.{name}", f"{theirs}.{name}")
            for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                out += sd.linear(f"{ours}.{name}", f"{theirs}.{name}")
    return out + sd.norm("norm", "norm")


def infer(config: NormwearConfig, shapes: Mapping[str, sd.Shape]) -> NormwearConfig:
    """Reads depth and sizes off the state dict; the number of heads does not show."""
    sizes = {}
    if blocks := {name.split(".")[1] for name in shapes if name.startswith("encoder_blocks.")}:
        sizes["depth"] = len(blocks)
    table = shapes.get("pos_embed", ())
    if len(table) == 3 and table[1] > 1 and table[1] % _COLUMNS == 1:
        sizes |= {"position_rows": table[1] // _COLUMNS, "features": table[2]}
    if mlp := shapes.get("encoder_blocks.0.variate_encoder.mlp.fc1.weight"):
        sizes["mlp_features"] = mlp[0]
    return config.override(**sizes)


def canonical(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drops the prefix under which fine-tuned files keep the encoder."""
    return {name.removeprefix("backbone."): array for name, array in state_dict.items()}


PORTS = (
    Port(
        name="normwear",
        module=Normwear,
        config=NormwearConfig(),
        entries=entries,
        infer=infer,
        canonical=canonical,
        # the decoder of the masked pre-training
        ignored=(r"mask_token", r"decoder_.*", r"temporal_recon\..*", r"spatial_recon\..*"),
        # files fine-tuned with the authors' script
        prefixes=(Prefix("backbone.", beside=(r"head\..*",)),),
    ),
)
