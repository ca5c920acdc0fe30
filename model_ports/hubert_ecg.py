"""HuBERT-ECG: HuBERT over ECG leads laid end to end (Coppola et al., 2024).

Published code and weights: github.com/Edoar-do/HuBERT-ECG. A signal is (batch, samples):
z-normalised ECG at 100 Hz, the leads one after the other in time. The published pre-training took
12 leads x 5 s; BioX-Bridge feeds one lead of 30 or 60 s.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import ecg_band, ecg_leads, torch_init
from model_ports import state_dict as sd
from model_ports import wav2vec2 as w2v
from model_ports.encoder import Encoder, check_signal
from model_ports.errors import InputError
from model_ports.lead_placement import place
from model_ports.port import Port, Prefix
from model_ports.recording_checks import check_description, check_samples
from model_ports.scaling import to_unit_peak

_POS_CONV = "encoder.pos_conv_embed.conv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubertEcgConfig(w2v.Wav2Vec2Config):
    """HuBERT-ECG's hyper-parameters; the defaults are the published small model.

    Its heads are 64 wide in the small and base model, 80 in the large one.
    """

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


class HubertEcg(Encoder):
    """HuBERT-ECG as an encoder: one token per 64 samples."""

    def __init__(self, config: HubertEcgConfig, *, rngs: nnx.Rngs):
        self.config = config
        dim, dtype = config.features, jnp.dtype(config.dtype)
        self.feature_extractor = w2v.ConvStem(
            1, config.conv_channels, config.conv_kernels, config.conv_strides,
            dtype=dtype, rngs=rngs,
        )
        self.projection_norm = w2v.layer_norm(config.conv_channels[-1], dtype=dtype, rngs=rngs)
        self.projection = w2v.linear(config.conv_channels[-1], dim, dtype=dtype, rngs=rngs)
        self.position_conv = w2v.position_conv(
            dim, config.position_kernel, config.position_groups,
            # weight norm shields this kernel from the published initialiser
            torch_init.kernel_init, dtype=dtype, rngs=rngs,
        )
        self.norm = w2v.layer_norm(dim, dtype=dtype, rngs=rngs)
        self.layers = nnx.List([
            w2v.Layer(dim, config.num_heads, config.mlp_features, dtype=dtype, rngs=rngs)
            for _ in range(config.depth)
        ])

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
        missing_leads: str | None = None,
        resampling: str = "linear",
    ) -> jax.Array:
        """Band-passes, resamples to 100 Hz, z-scores each lead, lays the leads end to end.

        As BioX-Bridge does (see `model_ports.ecg_band`); the authors' own pre-training scaled each
        lead to -1 .. 1 instead.

        Args:
            recording: ECG, (batch, leads, samples), longer than 0.906 s.
            sampling_rate_hz: at least 94 Hz.
            leads: see `model_ports.ecg_leads.standard_names`; put in the order I II III aVR aVL aVF
                V1 .. V6.
            unit: moot, since leads are z-scored: "V", "mV", "uV", "a.u." or "counts".
            missing_leads: must be given where the recording has fewer than 12 leads, see
                `model_ports.ecg_leads.arrange`. BioX-Bridge uses "none".
            resampling: "linear", as BioX-Bridge does, or "polyphase", with an anti-alias filter.
                Linear interpolation to 500 Hz folds what lies above 250 Hz back into the band.

        Returns:
            (batch, leads * samples at 100 Hz), with the leads left by `missing_leads`.

        Raises:
            InputError: see `Encoder.prepare`.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="HuBERT-ECG",
            min_sampling_rate_hz=ecg_band.MIN_SAMPLING_RATE_HZ,
        )
        names = ecg_leads.standard_names(given.leads, "HuBERT-ECG")
        rows = ecg_leads.arrange(names, ecg_leads.STANDARD_LEADS, missing_leads, "HuBERT-ECG")
        check_samples(given, "HuBERT-ECG")
        signal = ecg_band.band_passed(
            to_unit_peak(given.signal), old_hz=given.sampling_rate_hz,
            new_hz=self.config.sampling_rate_hz, resampling=resampling,
        )
        signal = place(signal, rows)
        signal = signal.reshape(len(signal), -1)
        self.config.check_length(signal.shape[1])
        return signal

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, samples), z-scored at 100 Hz, leads end to end -> (batch, tokens, features)."""
        check_signal(signal, ("batch", "samples"), "HuBERT-ECG")
        self.config.check_length(signal.shape[1])
        x = self.feature_extractor(jnp.asarray(signal, jnp.dtype(self.config.dtype))[..., None])
        x = self.projection(self.projection_norm(x))
        return self.norm(w2v.add_positions(x, self.position_conv))

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        del context
        return self.layers[i](tokens)


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
    out += w2v.weight_normed_conv("position_conv", _POS_CONV)
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
    return w2v.spell_weight_norm(state_dict, _POS_CONV)


def infer(config: HubertEcgConfig, shapes: Mapping[str, sd.Shape]) -> HubertEcgConfig:
    """Tells a file of another published size by name; sizes of ours are checked entry by entry.

    The size is not taken over from the file: it is part of the encoder's name, by which results
    are recorded.

    Raises:
        InputError: the state dict is another published size than `config.name`.
    """
    layers = {match[1] for name in shapes if (match := _LAYER.match(name))}
    size = len(layers), shapes.get("encoder.layer_norm.weight", (0,))[0]
    for name, published in _PUBLISHED.items():
        if name != config.name and size == (published.depth, published.features):
            raise InputError(
                f"the state dict has {size[0]} layers of {size[1]} features: it is {name}, "
                f"not {config.name}; ask for {name}."
            )
    return config


def overrides(file_config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a HubertConfig: `model_config` of a .pt file or config.json of a hub folder.

    Raises:
        InputError: the configuration asks for something that no published HuBERT-ECG has.
    """
    config = file_config.get("model_config", file_config)
    if not isinstance(config, Mapping):
        return {}
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise InputError(
                f"the file's configuration says {key}={config[key]!r}; "
                f"only {value!r}, as published, is ported."
            )
    found = {ours: config[key] for key, ours in _FIELDS.items() if config.get(key) is not None}
    return {key: tuple(v) if isinstance(v, list) else v for key, v in found.items()}


_FIXED = {
    "do_stable_layer_norm": False, "feat_extract_norm": "group", "conv_bias": False,
    "hidden_act": "gelu", "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5,
    "feat_proj_layer_norm": True, "conv_pos_batch_norm": False,
}
_FIELDS = {
    "num_hidden_layers": "depth", "hidden_size": "features", "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_features", "conv_dim": "conv_channels",
    "conv_kernel": "conv_kernels", "conv_stride": "conv_strides",
    "num_conv_pos_embeddings": "position_kernel",
    "num_conv_pos_embedding_groups": "position_groups",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")
_PUBLISHED = {
    "hubert_ecg_small": HubertEcgConfig(),
    "hubert_ecg_base": HubertEcgConfig(
        name="hubert_ecg_base", depth=12, features=768, num_heads=12, mlp_features=3072
    ),
    "hubert_ecg_large": HubertEcgConfig(
        name="hubert_ecg_large", depth=16, features=960, num_heads=12, mlp_features=3840
    ),
}
PORTS = tuple(
    Port(
        name=name,
        module=HubertEcg,
        config=config,
        entries=entries,
        infer=infer,
        canonical=canonical,
        # pre-training heads, whose sizes differ from checkpoint to checkpoint
        ignored=(r"masked_spec_embed", r"final_proj\..*", r"label_embedding\..*"),
        # the authors' fine-tuned classifiers
        prefixes=(Prefix("hubert_ecg.", beside=(r"classifier\..*", r"label_embedding\..*")),),
        overrides=overrides,
        inert_types=(r"(\w+\.)*HuBERTECGConfig", r"(\w+\.)*HubertConfig"),
    )
    for name, config in _PUBLISHED.items()
)
