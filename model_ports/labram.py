"""LaBraM: a transformer over one-second EEG patches (Jiang et al., ICLR 2024).

Published code and weights: github.com/935963004/LaBraM. A signal is
(batch, leads, seconds, 200): EEG at 200 Hz in units of 0.1 mV (microvolts / 100).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import initialisers, torch_init
from model_ports import state_dict as sd
from model_ports.batch_groups import in_groups
from model_ports.convolution import convolve
from model_ports.electrodes import labram_position_rows
from model_ports.encoder import Encoder, EncoderConfig, check_signal, token_mean
from model_ports.errors import InputError
from model_ports.layers import LayerNorm, attention, gelu, merge_heads, split_heads
from model_ports.lead_names import find, pick
from model_ports.port import Port, Prefix
from model_ports.recording_checks import check_description, check_samples
from model_ports.resampling import resample
from model_ports.scaling import MICROVOLTS

_POSITION_ROWS = 129  # the class token and 128 electrodes
_MIN_SAMPLING_RATE_HZ = 100.0
_MICROVOLTS_PER_UNIT = 100.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabramConfig(EncoderConfig):
    """LaBraM's hyper-parameters; the defaults are the published base model.

    Attributes:
        leads: electrode names in the order of the signal, for the position table; None for a
            model without one, which tells electrodes apart by nothing.
        time_rows: rows of the time table. A longer window takes the table stretched linearly to
            its number of seconds, first and last row kept.
    """

    name: str = "labram"
    sampling_rate_hz: float = 200.0
    unit: str = "0.1 mV"
    depth: int = 12
    features: int = 200
    num_heads: int = 10
    mlp_features: int = 800
    patch_samples: int = 200
    stem_channels: int = 8
    layer_scale: float = 0.1
    time_rows: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leads is not None:
            labram_position_rows(self.leads)
        if self.features % self.num_heads:
            raise InputError(
                f"features={self.features} does not divide into num_heads={self.num_heads}."
            )
        stem_features = -(-self.patch_samples // 8) * self.stem_channels
        if stem_features != self.features:
            raise InputError(
                f"the stem turns {self.patch_samples} samples and {self.stem_channels} channels "
                f"into {stem_features} features per patch; features={self.features} must equal it."
            )


class Stem(nnx.Module):
    """Three convolutions in time; group statistics run over all patches of a sample."""

    def __init__(self, config: LabramConfig, *, rngs: nnx.Rngs):
        channels, dtype = config.stem_channels, jnp.dtype(config.dtype)

        def conv(in_channels: int, width: int, stride: int) -> nnx.Conv:
            return nnx.Conv(
                in_channels, channels, (width,), (stride,), padding=((width // 2, width // 2),),
                kernel_init=torch_init.kernel_init,
                bias_init=torch_init.bias_init(in_channels * width),
                conv_general_dilated=convolve, dtype=dtype, rngs=rngs,
            )

        def norm() -> nnx.GroupNorm:
            return nnx.GroupNorm(
                channels, num_groups=4, epsilon=1e-5, use_fast_variance=False,
                dtype=dtype, rngs=rngs,
            )

        self.conv1, self.norm1 = conv(1, 15, 8), norm()
        self.conv2, self.norm2 = conv(channels, 3, 1), norm()
        self.conv3, self.norm3 = conv(channels, 3, 1), norm()

    def __call__(self, patches: jax.Array) -> jax.Array:
        """(batch, patches, samples) -> (batch, patches, features), time slow, channel fast."""
        size = math.prod(patches.shape[1:])
        return in_groups(self._stem, patches, patches.dtype.itemsize * size)

    def _stem(self, patches: jax.Array) -> jax.Array:
        batch, num_patches, samples = patches.shape
        x = patches.reshape(batch * num_patches, samples, 1)
        for conv, norm in (
            (self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)
        ):
            x = conv(x)
            x = gelu(norm(x.reshape(batch, num_patches * x.shape[1], x.shape[2]))).reshape(x.shape)
        return x.reshape(batch, num_patches, x.shape[1] * x.shape[2])


class Attention(nnx.Module):
    """Self-attention: joint q/k/v projection without bias, LayerNorm on each head of q and k."""

    def __init__(self, config: LabramConfig, layer: int, *, rngs: nnx.Rngs):
        dim, dtype = config.features, jnp.dtype(config.dtype)
        self.num_heads = config.num_heads
        self.qkv = nnx.Linear(
            dim, 3 * dim, use_bias=False, kernel_init=_NORMAL, dtype=dtype, rngs=rngs
        )
        self.q_norm = _layer_norm(dim // config.num_heads, dtype, rngs)
        self.k_norm = _layer_norm(dim // config.num_heads, dtype, rngs)
        self.proj = nnx.Linear(dim, dim, kernel_init=_residual(layer), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (
            split_heads(part, self.num_heads) for part in jnp.split(self.qkv(x), 3, axis=-1)
        )
        q = self.q_norm(q) * jnp.asarray(q.shape[-1] ** -0.5, x.dtype)
        return self.proj(merge_heads(attention(q, self.k_norm(k), v)))


class Mlp(nnx.Module):
    def __init__(self, config: LabramConfig, layer: int, *, rngs: nnx.Rngs):
        dim, hidden, dtype = config.features, config.mlp_features, jnp.dtype(config.dtype)
        self.fc1 = nnx.Linear(dim, hidden, kernel_init=_NORMAL, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, dim, kernel_init=_residual(layer), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(gelu(self.fc1(x)))


class Block(nnx.Module):
    """Pre-norm transformer block with layer scale."""

    def __init__(self, config: LabramConfig, layer: int, *, rngs: nnx.Rngs):
        dim, dtype = config.features, jnp.dtype(config.dtype)
        self.norm1 = _layer_norm(dim, dtype, rngs)
        self.attn = Attention(config, layer, rngs=rngs)
        self.norm2 = _layer_norm(dim, dtype, rngs)
        self.mlp = Mlp(config, layer, rngs=rngs)
        self.gamma_1 = nnx.Param(jnp.full((dim,), config.layer_scale, jnp.float32))
        self.gamma_2 = nnx.Param(jnp.full((dim,), config.layer_scale, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, tokens, features) -> the same."""
        hidden = self.mlp.fc1.out_features
        return in_groups(self._block, x, x.dtype.itemsize * x.shape[1] * hidden)

    def _block(self, x: jax.Array) -> jax.Array:
        x = x + self.gamma_1[...].astype(x.dtype) * self.attn(self.norm1(x))
        return x + self.gamma_2[...].astype(x.dtype) * self.mlp(self.norm2(x))


class Labram(Encoder):
    """LaBraM as an encoder: token 0 is the class token, then lead-major one-second patches."""

    class_token = 0

    def __init__(self, config: LabramConfig, *, rngs: nnx.Rngs):
        self.config = config
        dim = config.features
        self.patch_embed = Stem(config, rngs=rngs)
        self.cls_token = nnx.Param(_NORMAL(rngs.params(), (1, 1, dim)))
        self.time_embed = nnx.Param(_NORMAL(rngs.params(), (1, config.time_rows, dim)))
        if config.leads is not None:
            self.pos_embed = nnx.Param(_NORMAL(rngs.params(), (1, _POSITION_ROWS, dim)))
        self.blocks = nnx.List([Block(config, i, rngs=rngs) for i in range(config.depth)])
        self.fc_norm = _layer_norm(dim, jnp.float32, rngs)

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
        extra_leads: str = "refuse",
        remainder: str = "refuse",
    ) -> jax.Array:
        """Brings EEG to 0.1 mV and 200 Hz and cuts it into seconds. Nothing is z-scored.

        Args:
            recording: EEG, (batch, leads, samples).
            sampling_rate_hz: at least 100 Hz.
            leads: electrode names. With `config.leads` the recording's leads are found by name and
                put in its order: case, "EEG ", "-REF" and the like do not matter, and T3, T4, T5,
                T6 are T7, T8, P7, P8 (see `model_ports.lead_names.pick`); the position row is that
                of the name in `config.leads`. Without, all leads are taken as they come.
            unit: "V", "mV" or "uV".
            resampling: "linear", as BioX-Bridge does, or "polyphase", with an anti-alias filter.
                Linear interpolation folds what lies above 100 Hz back into the band.
            extra_leads: leads that are not in `config.leads`: "refuse" or "drop".
            remainder: what is left after the last whole second: "refuse" or "drop".

        Returns:
            (batch, leads, seconds, 200).

        Raises:
            InputError: see `Encoder.prepare`.
        """
        for name, choice in (("extra_leads", extra_leads), ("remainder", remainder)):
            if choice not in ("refuse", "drop"):
                raise InputError(f"LaBraM: {name}={choice!r} is unknown; use 'refuse' or 'drop'.")
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="LaBraM",
            min_sampling_rate_hz=_MIN_SAMPLING_RATE_HZ, voltage=True,
        )
        rows = self._rows(given.leads, extra_leads)
        given = given._replace(
            signal=given.signal[:, rows], leads=tuple(given.leads[row] for row in rows)
        )
        check_samples(given, "LaBraM")
        factor = MICROVOLTS[given.unit] / _MICROVOLTS_PER_UNIT
        signal = resample(
            (given.signal * np.float64(factor)).astype(np.float32),
            old_hz=given.sampling_rate_hz, new_hz=self.config.sampling_rate_hz, method=resampling,
        )
        patch = self.config.patch_samples
        seconds, rest = divmod(signal.shape[2], patch)
        if not seconds or (rest and remainder == "refuse"):
            remedy = "or pass remainder='drop'" if seconds else "of one at least"
            raise InputError(
                f"LaBraM reads whole seconds: {given.signal.shape[2]} samples at "
                f"{given.sampling_rate_hz:g} Hz make {signal.shape[2]} at "
                f"{self.config.sampling_rate_hz:g} Hz, {rest} more than {seconds} s. "
                f"Cut the recording to whole seconds, {remedy}."
            )
        return signal[..., : seconds * patch].reshape(*signal.shape[:2], seconds, patch)

    def _rows(self, leads: Sequence[str], extra_leads: str) -> list[int]:
        """Indices into the recording's leads, in the order of `config.leads`."""
        wanted = self.config.leads
        if wanted is None:
            return list(range(len(leads)))
        if missing := [lead for lead in wanted if not find(leads, lead)]:
            raise InputError(
                f"LaBraM: lead {', '.join(missing)} of config.leads is not among the recording's "
                f"({', '.join(leads)}); create the encoder with leads that it has."
            )
        rows = pick(leads, wanted, name="the recording")
        extra = [lead for i, lead in enumerate(leads) if i not in rows]
        if extra and extra_leads == "refuse":
            raise InputError(
                f"LaBraM: lead {', '.join(extra)} is not in config.leads ({', '.join(wanted)}); "
                "leave it out, pass extra_leads='drop', or create the encoder with it."
            )
        return rows

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, leads, seconds, 200) in 0.1 mV at 200 Hz -> (batch, 1 + leads*seconds, 200)."""
        leads = self.config.leads
        check_signal(
            signal,
            ("batch", "leads" if leads is None else len(leads), "seconds",
             self.config.patch_samples),
            "LaBraM",
        )
        if not signal.shape[2]:
            raise InputError("LaBraM needs at least one second.")
        dtype = jnp.dtype(self.config.dtype)
        batch, num_leads, seconds, samples = signal.shape
        patches = jnp.asarray(signal, dtype).reshape(batch, num_leads * seconds, samples)
        tokens = self.patch_embed(patches).reshape(batch, num_leads, seconds, self.config.features)
        tokens = tokens + _time_rows(self.time_embed[0], seconds).astype(dtype)
        cls = self.cls_token[...]
        if leads is not None:
            table = self.pos_embed[0]
            rows = np.array(labram_position_rows(leads))
            tokens = tokens + table[rows][:, None].astype(dtype)
            cls = cls + table[0]
        cls = jnp.broadcast_to(cls.astype(dtype), (batch, 1, tokens.shape[-1]))
        tokens = tokens.reshape(batch, num_leads * seconds, tokens.shape[-1])
        return jnp.concatenate([cls, tokens], axis=1)

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        del context
        return self.blocks[i](tokens)

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        """LayerNorm of the mean over patch tokens, class token left out."""
        del context
        return self.fc_norm(token_mean(tokens[:, 1:]))


def _time_rows(table: jax.Array, seconds: int) -> jax.Array:
    rows = table.shape[0]
    if seconds <= rows:
        return table[:seconds]
    at = np.linspace(0, rows - 1, seconds)
    low = np.minimum(at.astype(int), rows - 2)
    share = jnp.asarray(at - low, table.dtype)[:, None]
    return table[low] * (1 - share) + table[low + 1] * share


_NORMAL = initialisers.normal(0.02)


def _residual(layer: int) -> nnx.initializers.Initializer:
    # The published code divides the matrices that end a residual branch by sqrt(2 * depth).
    return initialisers.normal(0.02 / math.sqrt(2.0 * (layer + 1)))


def _layer_norm(dim: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> LayerNorm:
    return LayerNorm(dim, epsilon=1e-6, dtype=dtype, rngs=rngs)


def entries(config: LabramConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [sd.entry("cls_token", "cls_token"), sd.entry("time_embed", "time_embed")]
    if config.leads is not None:
        out.append(sd.entry("pos_embed", "pos_embed"))
    for i in (1, 2, 3):
        conv = f"patch_embed.conv{i}"
        out += [
            sd.entry(f"{conv}.kernel", f"{conv}.weight", sd.CONV1D_AS_2D),
            sd.entry(f"{conv}.bias", f"{conv}.bias"),
        ]
        out += sd.norm(f"patch_embed.norm{i}", f"patch_embed.norm{i}")
    for i in range(config.depth):
        block = f"blocks.{i}"
        out += [sd.entry(f"{block}.gamma_{k}", f"{block}.gamma_{k}") for k in (1, 2)]
        for name in ("norm1", "norm2", "attn.q_norm", "attn.k_norm"):
            out += sd.norm(f"{block}.{name}", f"{block}.{name}")
        out += sd.linear(f"{block}.attn.qkv", f"{block}.attn.qkv", bias=False)
        for name in ("attn.proj", "mlp.fc1", "mlp.fc2"):
            out += sd.linear(f"{block}.{name}", f"{block}.{name}")
    return out + sd.norm("fc_norm", "fc_norm")


def infer(config: LabramConfig, shapes: Mapping[str, sd.Shape]) -> LabramConfig:
    """Reads off the state dict what it says of the configuration.

    Raises:
        InputError: a position table without lead names, or lead names without a table.
    """
    if "pos_embed" in shapes and config.leads is None:
        raise InputError(
            "the state dict has a position table (pos_embed), so LaBraM needs to know the leads: "
            "pass leads=('F3', 'C3', ...) in the order of the signal."
        )
    if "pos_embed" not in shapes and config.leads is not None:
        raise InputError(
            "the state dict has no position table (pos_embed), so leads=... would have no effect: "
            "leave leads out."
        )
    if len(shapes.get("time_embed", ())) == 3:
        config = config.override(time_rows=shapes["time_embed"][1])
    return config


PORTS = (
    Port(
        name="labram",
        module=Labram,
        config=LabramConfig(),
        entries=entries,
        infer=infer,
        ignored=(r"head\.(weight|bias)", r".*relative_position_index.*"),
        prefixes=(
            # labram-base.pth is the masked pre-training model: it has prediction heads (logit_scale
            # as issue 27 of its repository shows), and no fc_norm, which fine-tuning starts at
            # LayerNorm's 1 and 0.
            Prefix(
                "student.",
                beside=(r"lm_head\..*", r"projection_head\..*", r"logit_scale"),
                within=(r"mask_token", r"norm\.(weight|bias)", r"lm_head\.(weight|bias)"),
                initial={"fc_norm.weight": 1.0, "fc_norm.bias": 0.0},
            ),
        ),
    ),
)
