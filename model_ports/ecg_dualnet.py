"""ECG-DualNet: a spectrogram branch conditioned by a signal branch (Rohr et al., 2022).

Published code and weights: github.com/ChristophReich1996/ECG_Classification, the attention
variants (ECG-DualNet++, `ECGAttNet`). A signal is (batch, 1, samples): one z-scored ECG lead at
300 Hz, 60 s in the published models.

Layer i is block i of the spectrogram branch; its tokens are (time frame, frequency), frequency
fast. What the signal branch makes of the signal, (batch, 256), conditions every block: that is the
context. The position tables fix the number of time frames from the first attention block on, and
the spectrogram fixes the number of frequencies, so height and width of a block's tokens follow
from their number.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import ecg_band, ecg_leads, initialisers, torch_init
from model_ports import state_dict as sd
from model_ports.axial_attention import AxialAttention, axial_attention
from model_ports.batch_norm import BatchNorm, batch_norm
from model_ports.encoder import Encoder, EncoderConfig, check_signal, token_mean
from model_ports.errors import InputError
from model_ports.layers import attention, gelu, merge_heads, split_heads
from model_ports.port import Port
from model_ports.recording_checks import check_description, check_samples
from model_ports.scaling import to_unit_peak
from model_ports.sizes import agreed_size, count_blocks
from model_ports.spectrogram import log_spectrogram


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgDualnetConfig(EncoderConfig):
    """ECG-DualNet's hyper-parameters; the defaults are the published ++ XL for 60 s.

    Attributes:
        features: features after each block of the spectrogram branch.
        conv_blocks: the first blocks convolve, the others attend along time, then frequency.
        time_span: time frames at the input of the first attention block.
        frame_samples: samples in a frame of the spectrogram; frames overlap by half.
        attention_groups: heads of the attention blocks.
        window_samples: samples in a token of the signal branch, which are its features.
        window_step: samples from one window to the next.
        num_windows: rows of the signal branch's position table.
        signal_depth: transformer layers of the signal branch.
        num_heads: heads of these layers.
        mlp_features: features inside these layers' two-layer networks.
        classes: classes of the published classifier.
    """

    name: str = "ecg_dualnet"
    sampling_rate_hz: float = 300.0
    unit: str = "z-score"
    features: tuple[int, ...] = (128, 256, 512, 512, 256)
    conv_blocks: int = 2
    time_span: int = 140
    frame_samples: int = 64
    attention_groups: int = 16
    window_samples: int = 256
    window_step: int = 224
    num_windows: int = 80
    signal_depth: int = 3
    num_heads: int = 8
    mlp_features: int = 512
    classes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.conv_blocks <= len(self.features):
            raise InputError(
                f"conv_blocks={self.conv_blocks} exceeds the {len(self.features)} blocks."
            )
        for features in self.features[self.conv_blocks :]:
            if features % (2 * self.attention_groups):
                raise InputError(
                    f"an attention block's features={features} must be a multiple of twice "
                    f"attention_groups={self.attention_groups}."
                )
        if self.window_samples % self.num_heads:
            raise InputError(
                f"window_samples={self.window_samples} does not divide into "
                f"num_heads={self.num_heads}."
            )
        last = len(self.features)
        if self.width(last) < 1 or self.span(last) < 1:
            raise InputError(
                f"{last} blocks halve {self.width(0)} frequencies and {self.time_span} time frames "
                "too often; take fewer."
            )
        low, high = self.samples_range
        if low > high:
            raise InputError(
                f"no signal length gives both num_windows={self.num_windows} and "
                f"time_span={self.time_span}."
            )

    @property
    def samples_range(self) -> tuple[int, int]:
        """Shortest and longest signal, in samples, that fits both position tables."""
        first_window = self.window_samples + self.window_step * (self.num_windows - 1)
        hop, factor = self.frame_samples // 2, 2**self.conv_blocks
        fewest, most = self.time_span * factor, (self.time_span + 1) * factor - 1
        return (
            max(first_window, (fewest - 1) * hop),
            min(first_window + self.window_step, most * hop) - 1,
        )

    def width(self, block: int) -> int:
        """Frequencies at the input of `block`."""
        return (self.frame_samples // 2 + 1) >> block

    def span(self, block: int) -> int:
        """Time frames at the input of an attention `block`."""
        return self.time_span >> (block - self.conv_blocks)


class PadeActivation(nnx.Module):
    """Learned rational function (Molina et al., ICLR 2020), safe form: no poles.

    (a0 + a1 x + ... + a5 x^5) / (1 + |b1 x| + |b2 x^2| + |b3 x^3| + |b4 x^4|), which starts as an
    approximation of leaky ReLU.
    """

    def __init__(self) -> None:
        self.numerator = nnx.Param(jnp.asarray(_LEAKY_RELU[0]))
        self.denominator = nnx.Param(jnp.asarray(_LEAKY_RELU[1]))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        a, b, size = self.numerator[...], jnp.abs(self.denominator[...]), jnp.abs(y)
        above, below = a[5], b[3]
        for power in (4, 3, 2, 1, 0):
            above = above * y + a[power]
        for power in (2, 1, 0):
            below = below * size + b[power]
        return (above / (below * size + 1.0)).astype(x.dtype)


class ConditionalBatchNorm(nnx.Module):
    """Batch norm whose result is scaled and shifted by a linear map of the context."""

    def __init__(self, config: EcgDualnetConfig, features: int, *, rngs: nnx.Rngs):
        self.norm = BatchNorm(features)
        self.condition = nnx.Linear(
            config.window_samples, 2 * features, use_bias=False,
            kernel_init=torch_init.kernel_init, rngs=rngs,
        )

    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x (batch, height, width, features), context (batch, window_samples)."""
        scale, shift = jnp.split(self.condition(context)[:, None, None], 2, axis=-1)
        slope, offset = self.norm.affine(lambda: x)
        y = x.astype(jnp.float32) * (scale * slope) + (scale * offset + shift)
        return y.astype(x.dtype)


class ConvBlock(nnx.Module):
    """Two 3x3 convolutions beside a pointwise one, then 2x2 average pooling."""

    def __init__(self, config: EcgDualnetConfig, fan_in: int, fan_out: int, *, rngs: nnx.Rngs):
        self.conv1, self.conv2 = (
            nnx.Conv(
                channels, fan_out, (3, 3), padding=1, use_bias=False,
                kernel_init=torch_init.kernel_init, dtype=jnp.dtype(config.dtype), rngs=rngs,
            )
            for channels in (fan_in, fan_out)
        )
        self.norm1, self.norm2 = (
            ConditionalBatchNorm(config, fan_out, rngs=rngs) for _ in range(2)
        )
        self.act1, self.act2 = PadeActivation(), PadeActivation()
        if fan_in != fan_out:
            self.shortcut = _pointwise(config, fan_in, fan_out, rngs)

    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """(batch, height, width, fan_in) -> (batch, height // 2, width // 2, fan_out)."""
        y = self.act1(self.norm1(self.conv1(x), context))
        y = self.norm2(self.conv2(y), context)
        shortcut = self.shortcut(x) if hasattr(self, "shortcut") else x
        return _halve(self.act2(y + shortcut))


class AttentionBlock(nnx.Module):
    """Attention along time, then along frequency, then 2x2 average pooling."""

    def __init__(self, config: EcgDualnetConfig, block: int, fan_in: int, fan_out: int, *,
                 rngs: nnx.Rngs):
        self.conv_in = _pointwise(config, fan_in, fan_out, rngs)
        self.norm_in = ConditionalBatchNorm(config, fan_out, rngs=rngs)
        self.act1, self.act2 = PadeActivation(), PadeActivation()
        self.along_time, self.along_frequency = (
            AxialAttention(
                fan_out, span, config.attention_groups, dtype=jnp.dtype(config.dtype), rngs=rngs
            )
            for span in (config.span(block), config.width(block))
        )
        self.conv_out = _pointwise(config, fan_out, fan_out, rngs)
        self.norm_out = ConditionalBatchNorm(config, fan_out, rngs=rngs)
        if fan_in != fan_out:
            self.shortcut = _pointwise(config, fan_in, fan_out, rngs)

    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """(batch, height, width, fan_in) -> (batch, height // 2, width // 2, fan_out)."""
        batch, height, width, _ = x.shape
        y = self.act1(self.norm_in(self.conv_in(x), context))
        features = y.shape[-1]
        y = self.along_time(y.swapaxes(1, 2).reshape(batch * width, height, features))
        y = y.reshape(batch, width, height, features).swapaxes(1, 2)
        y = self.along_frequency(y.reshape(batch * height, width, features))
        y = self.conv_out(_halve(y.reshape(batch, height, width, features)))
        # Published as pooling after the pointwise map; the two commute.
        shortcut = self.shortcut(_halve(x)) if hasattr(self, "shortcut") else _halve(x)
        return self.act2(self.norm_out(y, context) + shortcut)


class SignalLayer(nnx.Module):
    """Post-norm transformer layer."""

    def __init__(self, config: EcgDualnetConfig, *, rngs: nnx.Rngs):
        dim, dtype = config.window_samples, jnp.dtype(config.dtype)
        self.num_heads = config.num_heads
        self.qkv = nnx.Linear(
            dim, 3 * dim, kernel_init=initialisers.variance_scaling(1.0, "fan_avg", "uniform"),
            dtype=dtype, rngs=rngs,
        )
        self.out = nnx.Linear(
            dim, dim, kernel_init=torch_init.kernel_init, dtype=dtype, rngs=rngs
        )
        self.norm1 = _layer_norm(config, rngs)
        self.mlp_in = _linear(dim, config.mlp_features, dtype, rngs)
        self.mlp_out = _linear(config.mlp_features, dim, dtype, rngs)
        self.norm2 = _layer_norm(config, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (split_heads(part, self.num_heads) for part in jnp.split(self.qkv(x), 3, axis=-1))
        q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
        x = self.norm1(x + self.out(merge_heads(attention(q, k, v))))
        return self.norm2(x + self.mlp_out(gelu(self.mlp_in(x))))


class SignalBranch(nnx.Module):
    """Transformer over overlapping windows of the signal, averaged over windows."""

    def __init__(self, config: EcgDualnetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.position = nnx.Param(
            initialisers.normal(0.1)(
                rngs.params(), (config.num_windows, 1, config.window_samples)
            )
        )
        # PyTorch's TransformerEncoder starts as copies of one layer.
        key = rngs.params()
        self.layers = nnx.List(
            [SignalLayer(config, rngs=nnx.Rngs(key)) for _ in range(config.signal_depth)]
        )
        self.norm = _layer_norm(config, rngs)

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, samples) -> (batch, num_windows, window_samples)."""
        config = self.config
        starts = config.window_step * np.arange(config.num_windows)
        windows = signal[:, starts[:, None] + np.arange(config.window_samples)]
        dtype = jnp.dtype(config.dtype)
        return windows.astype(dtype) + self.position[:, 0].astype(dtype)

    def __call__(self, signal: jax.Array) -> jax.Array:
        """(batch, samples) -> (batch, window_samples), float32."""
        x = self.embed(signal)
        for layer in self.layers:
            x = layer(x)
        return token_mean(self.norm(x))


class EcgDualnet(Encoder):
    """ECG-DualNet as an encoder: layer i is block i of the spectrogram branch."""

    def __init__(self, config: EcgDualnetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.signal_branch = SignalBranch(config, rngs=rngs)
        fan_in = (1, *config.features)
        self.blocks = nnx.List([
            ConvBlock(config, fan_in[i], fan_out, rngs=rngs)
            if i < config.conv_blocks
            else AttentionBlock(config, i, fan_in[i], fan_out, rngs=rngs)
            for i, fan_out in enumerate(config.features)
        ])
        self.hidden = _linear(config.features[-1], config.window_samples, jnp.float32, rngs)
        self.act = PadeActivation()
        self.out = _linear(config.window_samples, config.classes, jnp.float32, rngs)

    @property
    def num_layers(self) -> int:
        return len(self.config.features)

    def prepare(
        self,
        recording: np.ndarray | jax.Array,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        resampling: str = "linear",
    ) -> jax.Array:
        """Band-passes one ECG lead, resamples it to 300 Hz and z-scores it, as BioX-Bridge does.

        See `model_ports.ecg_band`. The published model takes 59.84 to 60.05 s.

        Args:
            recording: ECG, (batch, 1, samples).
            sampling_rate_hz: at least 94 Hz.
            leads: the one lead, see `model_ports.ecg_leads.standard_names`.
            unit: moot, since the lead is z-scored: "V", "mV", "uV", "a.u." or "counts".
            resampling: "linear", as BioX-Bridge does, or "polyphase", with an anti-alias filter.
                Linear interpolation to 500 Hz folds what lies above 250 Hz back into the band.

        Returns:
            (batch, 1, samples at 300 Hz).

        Raises:
            InputError: see `Encoder.prepare`.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="ECG-DualNet",
            min_sampling_rate_hz=ecg_band.MIN_SAMPLING_RATE_HZ,
        )
        names = ecg_leads.standard_names(given.leads, "ECG-DualNet")
        if len(names) > 1:
            raise InputError(f"ECG-DualNet takes one lead, not {', '.join(names)}; choose one.")
        check_samples(given, "ECG-DualNet")
        signal = ecg_band.band_passed(
            to_unit_peak(given.signal), old_hz=given.sampling_rate_hz,
            new_hz=self.config.sampling_rate_hz, resampling=resampling,
        )
        self._lead(signal)
        return signal

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, 1, samples), z-scored at 300 Hz -> log spectrogram, (batch, frames*33, 1)."""
        spectrogram = log_spectrogram(self._lead(signal), self.config.frame_samples)
        batch, frames, frequencies = spectrogram.shape
        tokens = spectrogram.reshape(batch, frames * frequencies, 1)
        return tokens.astype(jnp.dtype(self.config.dtype))

    def context(self, signal: jax.Array) -> jax.Array:
        """What conditions every block: the signal branch's result, (batch, 256)."""
        return self.signal_branch(self._lead(signal))

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        """Applies block `i`.

        Raises:
            InputError: no context, or a number of tokens that the block cannot lay out in time
                and frequency.
        """
        self._check_context(context)
        config = self.config
        batch, num_tokens, features = tokens.shape
        width = config.width(i)
        height = num_tokens // width
        if height * width != num_tokens or (i >= config.conv_blocks and height != config.span(i)):
            want = f"{config.span(i)} x {width}" if i >= config.conv_blocks else f"n x {width}"
            raise InputError(
                f"ECG-DualNet's layer {i} takes {want} (time x frequency) tokens, not "
                f"{num_tokens}: layer_shape tells how many a signal gives."
            )
        out = self.blocks[i](tokens.reshape(batch, height, width, features), context)
        return out.reshape(batch, out.shape[1] * out.shape[2], out.shape[3])

    def logits(self, tokens: jax.Array, context: jax.Array) -> jax.Array:
        """The published classifier on the last layer's output, (batch, classes)."""
        self._check_context(context)
        return self.out(self.act(self.hidden(token_mean(tokens))) + context)

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        """The published model's class probabilities, (batch, classes)."""
        return jax.nn.softmax(self.logits(tokens, context))

    def _lead(self, signal: jax.Array) -> jax.Array:
        check_signal(signal, ("batch", 1, "samples"), "ECG-DualNet")
        (low, high), rate = self.config.samples_range, self.config.sampling_rate_hz
        if not low <= signal.shape[2] <= high:
            raise InputError(
                f"ECG-DualNet's position tables fit {low} to {high} samples "
                f"({low / rate:.2f} to {high / rate:.2f} s at {rate:g} Hz), "
                f"not {signal.shape[2]}; cut or pad the windows."
            )
        return jnp.asarray(signal, jnp.float32)[:, 0]

    def _check_context(self, context: Any) -> None:
        shape = getattr(context, "shape", None)
        if shape is None or len(shape) != 2 or shape[1] != self.config.window_samples:
            raise InputError(
                "ECG-DualNet's layers are conditioned by the signal branch: pass "
                f"context=encoder.context(signal), (batch, {self.config.window_samples})."
            )


def _halve(x: jax.Array) -> jax.Array:
    # 2x2 average pooling; an odd last row or column falls off.
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    batch, height, width, features = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, features)
    return x.astype(jnp.float32).mean(axis=(2, 4)).astype(x.dtype)


def _linear(fan_in: int, fan_out: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, kernel_init=torch_init.kernel_init,
        bias_init=torch_init.bias_init(fan_in), dtype=dtype, rngs=rngs,
    )


def _pointwise(
    config: EcgDualnetConfig, fan_in: int, fan_out: int, rngs: nnx.Rngs
) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, use_bias=False, kernel_init=torch_init.kernel_init,
        dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


def _layer_norm(config: EcgDualnetConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.window_samples, epsilon=1e-5, use_fast_variance=False,
        dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


_LEAKY_RELU = (
    np.array([3.35583603e-02, 5.05000375e-01, 1.65343934e00, 2.01001052e00, 9.31901999e-01,
              1.52424124e-01], np.float32),
    np.array([3.30847488e-06, 3.98021568e00, 5.12471206e-07, 3.01830109e-01], np.float32),
)

# (out, in, 1, 1) -> (in, out)
_POINTWISE = sd.Layout(lambda x: x[:, :, 0, 0].T, lambda s: ((s[1], s[0], 1, 1),))


def _pade(target: str, source: str) -> list[sd.Entry]:
    return [
        sd.entry(f"{target}.{part}", f"{source}.weight_{part}")
        for part in ("numerator", "denominator")
    ]


def _conditional(target: str, source: str) -> list[sd.Entry]:
    return [
        *batch_norm(f"{target}.norm", f"{source}.batch_normalization"),
        *sd.linear(f"{target}.condition", f"{source}.linear_mapping", bias=False),
    ]


def _conv_block(ours: str, theirs: str) -> list[sd.Entry]:
    out = _pade(f"{ours}.act1", f"{theirs}.main_mapping_act_1")
    for k in (1, 2):
        out.append(
            sd.entry(f"{ours}.conv{k}.kernel", f"{theirs}.main_mapping_conv_{k}.weight", sd.CONV2D)
        )
        out += _conditional(f"{ours}.norm{k}", f"{theirs}.main_mapping_norm_{k}")
    return out


def _attention_block(ours: str, theirs: str) -> list[sd.Entry]:
    out = _pade(f"{ours}.act1", f"{theirs}.input_mapping_act")
    for a, b in (("in", "input"), ("out", "output")):
        out.append(
            sd.entry(f"{ours}.conv_{a}.kernel", f"{theirs}.{b}_mapping_conv.weight", _POINTWISE)
        )
        out += _conditional(f"{ours}.norm_{a}", f"{theirs}.{b}_mapping_norm")
    for axis, name in enumerate(("along_time", "along_frequency")):
        out += axial_attention(f"{ours}.{name}", f"{theirs}.axial_attention_mapping.{axis}")
    return out


def entries(config: EcgDualnetConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [sd.entry("signal_branch.position", "positional_embedding")]
    for i in range(config.signal_depth):
        ours, theirs = f"signal_branch.layers.{i}", f"ecg_encoder.layers.{i}"
        out += [
            sd.entry(f"{ours}.qkv.kernel", f"{theirs}.self_attn.in_proj_weight", sd.LINEAR),
            sd.entry(f"{ours}.qkv.bias", f"{theirs}.self_attn.in_proj_bias"),
        ]
        for a, b in (("out", "self_attn.out_proj"), ("mlp_in", "linear1"), ("mlp_out", "linear2")):
            out += sd.linear(f"{ours}.{a}", f"{theirs}.{b}")
        for k in (1, 2):
            out += sd.norm(f"{ours}.norm{k}", f"{theirs}.norm{k}")
    out += sd.norm("signal_branch.norm", "ecg_encoder.norm")
    fan_in = (1, *config.features)
    for i, fan_out in enumerate(config.features):
        ours, theirs = f"blocks.{i}", f"spectrogram_encoder.{i}"
        out += (_conv_block if i < config.conv_blocks else _attention_block)(ours, theirs)
        out += _pade(f"{ours}.act2", f"{theirs}.final_activation")
        if fan_in[i] != fan_out:
            out.append(
                sd.entry(
                    f"{ours}.shortcut.kernel", f"{theirs}.residual_mapping.weight", _POINTWISE
                )
            )
    out += sd.linear("hidden", "linear_layer_1.0") + _pade("act", "linear_layer_1.1")
    return out + sd.linear("out", "linear_layer_2")


def infer(config: EcgDualnetConfig, shapes: Mapping[str, sd.Shape]) -> EcgDualnetConfig:
    """Reads the sizes off the state dict; `num_heads` and `attention_groups` cannot be told."""
    encoder, layer = "spectrogram_encoder", "ecg_encoder.layers.0"
    depth = count_blocks(shapes, rf"{encoder}\.(\d+)\.final_activation\.weight_\w+") or 0
    convs = count_blocks(shapes, rf"{encoder}\.(\d+)\.main_mapping_conv_[12]\.weight") or 0
    features = tuple(
        agreed_size(
            shapes,
            (f"{encoder}.{i}.{part}_conv{number}.weight", 0),
            (f"{encoder}.{i}.{part}_norm{number}.batch_normalization.weight", 0),
        )
        for i in range(depth)
        for part, number in [("main_mapping", "_2") if i < convs else ("output_mapping", "")]
    )
    found = {
        "features": features if features and all(features) else None,
        "conv_blocks": convs,
        "num_windows": agreed_size(shapes, ("positional_embedding", 0)),
        "signal_depth": count_blocks(shapes, r"ecg_encoder\.layers\.(\d+)\.linear[12]\.weight"),
        "mlp_features": agreed_size(
            shapes, (f"{layer}.linear1.weight", 0), (f"{layer}.linear2.weight", 1)
        ),
        "classes": agreed_size(shapes, ("linear_layer_2.weight", 0), ("linear_layer_2.bias", 0)),
    }
    table = f"{encoder}.{convs}.axial_attention_mapping.0.relative_embeddings"
    if distances := agreed_size(shapes, (table, 1)):
        found["time_span"] = (distances + 1) // 2
    try:
        return config.override(**{name: size for name, size in found.items() if size})
    except InputError:
        # The sizes contradict each other: the published ones show which entry is at fault.
        return config


PORTS = (
    Port(
        name="ecg_dualnet",
        module=EcgDualnet,
        config=EcgDualnetConfig(),
        entries=entries,
        infer=infer,
        ignored=(r".*\.num_batches_tracked", r".*\.relative_indexes"),
    ),
)
