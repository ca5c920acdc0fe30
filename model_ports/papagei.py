"""PaPaGei-S: a one-dimensional ResNet for PPG (Pillai et al., ICLR 2025).

Published code and weights: github.com/Nokia-Bell-Labs/papagei-foundation-model. A signal is
(batch, channels, samples): PPG at 125 Hz, z-scored; the published model has one channel. Tokens
are time steps: every second block halves them (rounded up), every fourth doubles the features.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports import torch_init
from model_ports.batch_norm import BatchNorm, batch_norm
from model_ports.convolution import convolve
from model_ports.dropout import dropped
from model_ports.encoder import Encoder, EncoderConfig, check_signal, token_mean
from model_ports.errors import InputError
from model_ports.filtering import chebyshev_bandpass
from model_ports.port import Port
from model_ports.recording_checks import check_description, check_samples
from model_ports.resampling import fourier
from model_ports.scaling import to_unit_peak, zscore
from model_ports.sizes import agreed_size, count_blocks

_LOW_HZ, _HIGH_HZ, _ORDER, _RIPPLE_DB = 0.5, 12.0, 4, 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PapageiConfig(EncoderConfig):
    """PaPaGei's hyper-parameters; the defaults are the published PaPaGei-S.

    Attributes:
        channels: channels of the signal.
        features: features of the first block; every fourth block after it doubles them.
        embedding_features: size of the embedding that the model ends with.
        num_experts: experts in each of the two regression heads.
    """

    name: str = "papagei"
    sampling_rate_hz: float = 125.0
    unit: str = "z-score"
    depth: int = 18
    channels: int = 1
    features: int = 32
    kernel: int = 3
    embedding_features: int = 512
    num_experts: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 1:
            raise InputError(f"depth is {self.depth}; PaPaGei needs at least one block.")

    def features_after(self, block: int) -> int:
        """Features of the output of `block` (-1: of the stem)."""
        return self.features * 2 ** (max(block, 0) // 4)


class Block(nnx.Module):
    """Pre-activation residual block; blocks 1, 3, 5, ... halve the number of tokens.

    Dropout stands between each ReLU and the convolution that it feeds.
    """

    def __init__(self, config: PapageiConfig, block: int, *, rngs: nnx.Rngs):
        fan_in, fan_out = config.features_after(block - 1), config.features_after(block)
        self.index, self.first, self.halves = block, block == 0, block % 2 == 1
        # In block 0 the stem has normalised already: its bn1 is published but not used.
        self.bn1 = BatchNorm(fan_in)
        self.conv1 = _conv(config, fan_in, fan_out, 2 if self.halves else 1, rngs)
        self.bn2 = BatchNorm(fan_out)
        self.conv2 = _conv(config, fan_out, fan_out, 1, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, tokens, fan_in) -> (batch, tokens or ceil(tokens / 2), fan_out)."""
        place = 2 * self.index
        y = self.conv1(x if self.first else dropped(jax.nn.relu(self.bn1(x)), place))
        y = self.conv2(dropped(jax.nn.relu(self.bn2(y)), place + 1))
        return y + self._shortcut(x, y.shape[-1])

    def _shortcut(self, x: jax.Array, features: int) -> jax.Array:
        if self.halves:
            # A last odd token is paired with a zero, as published, not with minus infinity.
            x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0)))
            x = jnp.maximum(x[:, ::2], x[:, 1::2])
        new = features - x.shape[-1]
        return jnp.pad(x, ((0, 0), (0, 0), (new // 2, new - new // 2)))


class MixtureOfExperts(nnx.Module):
    """A scalar regression: small networks weighted by a softmax gate."""

    def __init__(self, config: PapageiConfig, features: int, *, rngs: nnx.Rngs):
        self.gate = _linear(config, features, config.num_experts, rngs)
        self.hidden = nnx.List(
            [_linear(config, features, features // 2, rngs) for _ in range(config.num_experts)]
        )
        self.out = nnx.List(
            [_linear(config, features // 2, 1, rngs) for _ in range(config.num_experts)]
        )

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """(batch, features) -> (batch, 1)."""
        votes = [
            out(jax.nn.relu(hidden(pooled)))
            for hidden, out in zip(self.hidden, self.out, strict=True)
        ]
        weights = jax.nn.softmax(self.gate(pooled), axis=-1)
        return jnp.sum(weights * jnp.concatenate(votes, axis=-1), axis=-1, keepdims=True)


class Heads(NamedTuple):
    """What the published model returns.

    Attributes:
        embedding: (batch, embedding_features), what the authors use downstream.
        ipa: predicted inflection point area ratio, (batch, 1).
        sqi: predicted signal quality index, (batch, 1).
        pooled: (batch, features), what the three above are computed from.
    """

    embedding: jax.Array
    ipa: jax.Array
    sqi: jax.Array
    pooled: jax.Array


class Papagei(Encoder):
    """PaPaGei-S as an encoder: layer i is residual block i."""

    has_dropout = True

    def __init__(self, config: PapageiConfig, *, rngs: nnx.Rngs):
        self.config = config
        features = config.features_after(config.depth - 1)
        self.stem = _conv(config, config.channels, config.features, 1, rngs)
        self.stem_norm = BatchNorm(config.features)
        self.blocks = nnx.List([Block(config, i, rngs=rngs) for i in range(config.depth)])
        self.norm = BatchNorm(features)
        self.embedding = _linear(config, features, config.embedding_features, rngs)
        self.ipa = MixtureOfExperts(config, features, rngs=rngs)
        self.sqi = MixtureOfExperts(config, features, rngs=rngs)

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
    ) -> jax.Array:
        """Resamples to 125 Hz (Fourier), band-passes and z-scores PPG, as BioX-Bridge does.

        The band pass is a Chebyshev-I filter of order 4, 0.5 dB, 0.5 to 12 Hz, zero phase. Fourier
        resampling folds nothing back; a jump from the last to the first sample rings at both ends.

        Args:
            recording: PPG, (batch, channels, samples), longer than 0.216 s.
            sampling_rate_hz: at least 24 Hz.
            leads: as many names as channels, one in the published model; any name.
            unit: moot, since channels are z-scored: "V", "mV", "uV", "a.u." or "counts".

        Returns:
            (batch, channels, samples at 125 Hz).

        Raises:
            InputError: see `Encoder.prepare`.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="PaPaGei",
            min_sampling_rate_hz=2 * _HIGH_HZ,
        )
        if len(given.leads) != self.config.channels:
            raise InputError(
                f"PaPaGei takes {self.config.channels} channel(s), not {len(given.leads)} "
                f"({', '.join(given.leads)}); choose."
            )
        check_samples(given, "PaPaGei")
        return _band_passed(
            to_unit_peak(given.signal), old_hz=given.sampling_rate_hz,
            new_hz=self.config.sampling_rate_hz,
        )

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, channels, samples), z-scored at 125 Hz -> (batch, samples, features)."""
        check_signal(signal, ("batch", self.config.channels, "samples"), "PaPaGei")
        if not signal.shape[2]:
            raise InputError("PaPaGei needs at least one sample.")
        x = jnp.asarray(signal, jnp.dtype(self.config.dtype)).transpose(0, 2, 1)
        return jax.nn.relu(self.stem_norm(self.stem(x)))

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        del context
        return self.blocks[i](tokens)

    def pool(self, tokens: jax.Array) -> jax.Array:
        """Token mean of the normalised, rectified output of the last block."""
        return token_mean(jax.nn.relu(self.norm(tokens)))

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        del context
        return self.embedding(self.pool(tokens)).astype(jnp.float32)

    def heads(self, tokens: jax.Array) -> Heads:
        """Everything that the published model returns, from the last block's output."""
        pooled = self.pool(tokens)
        outputs = (head(pooled).astype(jnp.float32)
                   for head in (self.embedding, self.ipa, self.sqi))
        return Heads(*outputs, pooled)


@functools.partial(jax.jit, static_argnames=("old_hz", "new_hz"))
def _band_passed(signal: jax.Array, *, old_hz: float, new_hz: float) -> jax.Array:
    signal = fourier(signal, old_hz, new_hz)
    return zscore(chebyshev_bandpass(signal, new_hz, _LOW_HZ, _HIGH_HZ, _ORDER, _RIPPLE_DB))


def _conv(
    config: PapageiConfig, fan_in: int, fan_out: int, stride: int, rngs: nnx.Rngs
) -> nnx.Conv:
    # Zero-padded to ceil(samples / stride); an odd zero goes to the right.
    return nnx.Conv(
        fan_in, fan_out, (config.kernel,), (stride,), padding="SAME",
        kernel_init=torch_init.kernel_init,
        bias_init=torch_init.bias_init(fan_in * config.kernel),
        conv_general_dilated=convolve, dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


def _linear(config: PapageiConfig, fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        fan_in, fan_out, kernel_init=torch_init.kernel_init,
        bias_init=torch_init.bias_init(fan_in), dtype=jnp.dtype(config.dtype), rngs=rngs,
    )


def _conv_entries(target: str, source: str) -> list[sd.Entry]:
    return [
        sd.entry(f"{target}.kernel", f"{source}.conv.weight", sd.CONV1D),
        sd.entry(f"{target}.bias", f"{source}.conv.bias"),
    ]


def entries(config: PapageiConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = _conv_entries("stem", "first_block_conv") + batch_norm("stem_norm", "first_block_bn")
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}", f"basicblock_list.{i}"
        for k in (1, 2):
            out += batch_norm(f"{ours}.bn{k}", f"{theirs}.bn{k}")
            out += _conv_entries(f"{ours}.conv{k}", f"{theirs}.conv{k}")
    out += batch_norm("norm", "final_bn") + sd.linear("embedding", "dense")
    # The second head has a dropout layer before its last, which counts in the published names.
    for head, number, last in (("ipa", 1, 2), ("sqi", 2, 3)):
        out += sd.linear(f"{head}.gate", f"gating_network_{number}.0")
        for e in range(config.num_experts):
            expert = f"expert_layers_{number}.{e}"
            out += sd.linear(f"{head}.hidden.{e}", f"{expert}.0")
            out += sd.linear(f"{head}.out.{e}", f"{expert}.{last}")
    return out


def infer(config: PapageiConfig, shapes: Mapping[str, sd.Shape]) -> PapageiConfig:
    """Reads the sizes off the state dict."""
    stem, block = "first_block_conv.conv", "basicblock_list.0"
    found = {
        "channels": agreed_size(shapes, (f"{stem}.weight", 1)),
        "features": agreed_size(shapes, (f"{stem}.weight", 0), (f"{stem}.bias", 0)),
        "kernel": agreed_size(shapes, (f"{stem}.weight", 2), (f"{block}.conv1.conv.weight", 2)),
        "depth": count_blocks(shapes, r"basicblock_list\.(\d+)\.conv[12]\.conv\.weight"),
        "embedding_features": agreed_size(shapes, ("dense.weight", 0), ("dense.bias", 0)),
        "num_experts": agreed_size(
            shapes, ("gating_network_1.0.weight", 0), ("gating_network_2.0.weight", 0)
        ),
    }
    return config.override(**{name: size for name, size in found.items() if size})


PORTS = (
    Port(
        name="papagei",
        module=Papagei,
        config=PapageiConfig(),
        entries=entries,
        infer=infer,
        ignored=(r".*\.num_batches_tracked",),
    ),
)
