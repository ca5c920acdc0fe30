"""ECG-FM: wav2vec 2.0 with contrastive segment coding over 12-lead ECG (McKeen et al., 2024).

Published code: github.com/Jwoo5/fairseq-signals; weights: huggingface.co/wanglab/ecg-fm. A signal
is (batch, leads, samples): 12 leads at 500 Hz, each z-scored per window. The published
pre-training took 5 s windows. Nothing is masked here, in contrast to BioX-Bridge's reference,
which leaves the pre-training mask on.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import ecg_leads, initialisers, torch_init
from model_ports import state_dict as sd
from model_ports import wav2vec2 as w2v
from model_ports.encoder import Encoder, check_signal, token_mean
from model_ports.errors import InputError
from model_ports.lead_placement import place
from model_ports.port import Port, Prefix
from model_ports.recording_checks import check_description, check_samples
from model_ports.resampling import resample
from model_ports.scaling import to_unit_peak, zscore

_POS_CONV = "conv_pos.pos_conv.0"
_STEM = "feature_extractor.conv_layers"
# No filter makes this a limit; it is twice the 47 Hz up to which BioX-Bridge keeps ECG elsewhere.
_MIN_SAMPLING_RATE_HZ = 94.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class EcgFmConfig(w2v.Wav2Vec2Config):
    """ECG-FM's hyper-parameters; the defaults are fairseq-signals' recipe that its authors name.

    Attributes:
        layer_norm_first: norms before each branch and one after the last layer (True), or after
            each residual sum and one before the first layer. The state dict looks the same either
            way; the checkpoint's own `cfg.model.layer_norm_first` decides.
    """

    name: str = "ecg_fm"
    sampling_rate_hz: float = 500.0
    unit: str = "z-score"
    leads: tuple[str, ...] | None = ecg_leads.STANDARD_LEADS
    conv_channels: tuple[int, ...] = (256, 256, 256, 256)
    conv_kernels: tuple[int, ...] = (2, 2, 2, 2)
    conv_strides: tuple[int, ...] = (2, 2, 2, 2)
    layer_norm_first: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.leads:
            raise InputError("ECG-FM needs lead names: pass leads=('I', 'II', ...).")
        if self.conv_channels[-1] == self.features:
            raise InputError(
                f"features={self.features} must differ from the stem's last channels: "
                "the published model then drops the projection between them."
            )


class EcgFm(Encoder):
    """ECG-FM as an encoder: one token per 16 samples of all leads together."""

    def __init__(self, config: EcgFmConfig, *, rngs: nnx.Rngs):
        self.config = config
        dim, dtype = config.features, jnp.dtype(config.dtype)
        stem = config.conv_channels[-1]
        self.feature_extractor = w2v.ConvStem(
            len(config.leads), config.conv_channels, config.conv_kernels, config.conv_strides,
            dtype=dtype, rngs=rngs,
        )
        self.projection_norm = w2v.layer_norm(stem, dtype=dtype, rngs=rngs)
        self.projection = nnx.Linear(
            stem, dim, kernel_init=torch_init.kernel_init, bias_init=torch_init.bias_init(stem),
            dtype=dtype, rngs=rngs,
        )
        self.position_conv = w2v.position_conv(
            dim, config.position_kernel, config.position_groups,
            initialisers.normal(math.sqrt(4 / (config.position_kernel * dim))),
            dtype=dtype, rngs=rngs,
        )
        self.norm = w2v.layer_norm(dim, dtype=dtype, rngs=rngs)
        self.layers = nnx.List([
            w2v.Layer(
                dim, config.num_heads, config.mlp_features,
                norm_first=config.layer_norm_first, dtype=dtype, rngs=rngs,
            )
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
        """Resamples to 500 Hz and z-scores each lead, as the authors and BioX-Bridge do.

        Args:
            recording: ECG, (batch, leads, samples).
            sampling_rate_hz: at least 94 Hz.
            leads: see `model_ports.ecg_leads.standard_names`; put in the order of `config.leads`.
            unit: moot, since leads are z-scored: "V", "mV", "uV", "a.u." or "counts".
            missing_leads: must be given where the recording lacks some of `config.leads`: "zero"
                or "repeat", see `model_ports.ecg_leads.arrange`. The stem reads all leads
                together, so "none" is for an encoder created with these leads only.
            resampling: "linear", as published, which folds what lies above 250 Hz back into the
                band, or "polyphase", with an anti-alias filter.

        Returns:
            (batch, len(config.leads), samples at 500 Hz).

        Raises:
            InputError: see `Encoder.prepare`.
        """
        given = check_description(
            recording, sampling_rate_hz, leads, unit, model="ECG-FM",
            min_sampling_rate_hz=_MIN_SAMPLING_RATE_HZ,
        )
        wanted = ecg_leads.standard_names(self.config.leads, "ECG-FM's config.leads")
        names = ecg_leads.standard_names(given.leads, "ECG-FM")
        rows = ecg_leads.arrange(names, wanted, missing_leads, "ECG-FM", can_do_without=False)
        check_samples(given, "ECG-FM")
        signal = resample(
            to_unit_peak(given.signal), old_hz=given.sampling_rate_hz,
            new_hz=self.config.sampling_rate_hz, method=resampling,
        )
        self.config.check_length(signal.shape[2])
        return place(zscore(signal), rows)

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, leads, samples), z-scored at 500 Hz -> (batch, tokens, features)."""
        check_signal(signal, ("batch", len(self.config.leads), "samples"), "ECG-FM")
        self.config.check_length(signal.shape[2])
        x = jnp.asarray(signal, jnp.dtype(self.config.dtype)).transpose(0, 2, 1)
        x = self.projection(self.projection_norm(self.feature_extractor(x)))
        x = w2v.add_positions(x, self.position_conv)
        return x if self.config.layer_norm_first else self.norm(x)

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        del context
        return self.layers[i](tokens)

    def readout(self, tokens: jax.Array, context: Any = ()) -> jax.Array:
        """Token mean; with `layer_norm_first` of the normalised tokens, as the published model."""
        del context
        return token_mean(self.norm(tokens) if self.config.layer_norm_first else tokens)


def entries(config: EcgFmConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [
        sd.entry(f"feature_extractor.convs.{i}.kernel", f"{_STEM}.{i}.0.weight", sd.CONV1D)
        for i in range(len(config.conv_kernels))
    ]
    out += sd.norm("feature_extractor.norm", f"{_STEM}.0.2")
    out += sd.norm("projection_norm", "layer_norm")
    out += sd.linear("projection", "post_extract_proj")
    out += w2v.weight_normed_conv("position_conv", _POS_CONV)
    out += sd.norm("norm", "encoder.layer_norm")
    for i in range(config.depth):
        ours, theirs = f"layers.{i}", f"encoder.layers.{i}"
        for a, b in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out")):
            out += sd.linear(f"{ours}.attention.{a}", f"{theirs}.self_attn.{b}_proj")
        out += sd.norm(f"{ours}.attention_norm", f"{theirs}.self_attn_layer_norm")
        out += sd.linear(f"{ours}.mlp_in", f"{theirs}.fc1")
        out += sd.linear(f"{ours}.mlp_out", f"{theirs}.fc2")
        out += sd.norm(f"{ours}.mlp_norm", f"{theirs}.final_layer_norm")
    return out


def canonical(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Spells the weight-normed convolution as torch.nn.utils.parametrizations does."""
    return w2v.spell_weight_norm(state_dict, _POS_CONV)


def overrides(file_config: Mapping[str, Any]) -> dict[str, Any]:
    """Reads `layer_norm_first` from a fairseq checkpoint's `cfg.model`, or from its old `args`."""
    cfg, args = (file_config.get(key) or {} for key in ("cfg", "args"))
    for config in (cfg.get("model") or {}, args, file_config):
        if config.get("layer_norm_first") is not None:
            return {"layer_norm_first": bool(config["layer_norm_first"])}
    return {}


PORTS = (
    Port(
        name="ecg_fm",
        module=EcgFm,
        config=EcgFmConfig(),
        entries=entries,
        canonical=canonical,
        # pre-training parts
        ignored=(r"mask_emb", r"quantizer\..*", r"project_q\..*", r"final_proj\..*"),
        # fairseq-signals' fine-tuned classifiers
        prefixes=(Prefix("encoder.", sign="encoder.encoder.", beside=(r"proj\..*",)),),
        overrides=overrides,
        needed={"layer_norm_first": "cfg.model.layer_norm_first"},
    ),
)
