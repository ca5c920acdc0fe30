"""Tiny-BioMoE as an encoder: SpectFormer (layers 0 to 4), EfficientViT (5 to 14), fusion (15)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import state_dict as sd
from model_ports import torch_init
from model_ports.encoder import Activations, Encoder, Pool, check_signal, token_mean
from model_ports.errors import InputError
from model_ports.port import Port
from model_ports.tiny_biomoe import efficientvit, spectformer
from model_ports.tiny_biomoe.config import TinyBiomoeConfig
from model_ports.tiny_biomoe.convolutions import as_tokens
from model_ports.tiny_biomoe.images import prepare_images

_VIT = 5  # first layer of EfficientViT
_FUSION = 15


class Context(NamedTuple):
    """What a layer of one expert needs of the other.

    Attributes:
        image: the normalised image, (batch, height * width, 3), EfficientViT's input.
        spectformer: SpectFormer's result, (batch, features).
        efficientvit: EfficientViT's result, (batch, features).
    """

    image: jax.Array
    spectformer: jax.Array
    efficientvit: jax.Array


class ImageNorm(nnx.Module):
    """Layer normalisation over a whole image with a weight per pixel and colour."""

    def __init__(self, size: int):
        self.scale = nnx.Param(jnp.ones((size, size, 3), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((size, size, 3), jnp.float32))

    def __call__(self, image: jax.Array) -> jax.Array:
        """(batch, height, width, 3) -> the same; means are nested, which keeps float32 exact."""

        def mean(x: jax.Array) -> jax.Array:
            return jnp.mean(jnp.mean(x, axis=2, keepdims=True), axis=(1, 3), keepdims=True)

        centred = image - mean(image)
        normed = centred * jax.lax.rsqrt(mean(jnp.square(centred)) + 1e-5)
        return normed * self.scale[...] + self.bias[...]


class TinyBiomoe(Encoder):
    """Tiny-BioMoE. Its layers are no chain: two experts side by side, then the fusion.

    `run` continues from layer l on the input of layer l, replaced or not. What came before l and
    is not in the tokens is taken from the context: within SpectFormer, EfficientViT's result;
    within EfficientViT, SpectFormer's. Where a layer's input is not simply the output of the layer
    before (a stage change, the first layer of EfficientViT, the fusion), `run` takes either of the
    two, told apart by their shapes, so that running in parts is running the whole.
    """

    def __init__(self, config: TinyBiomoeConfig, *, rngs: nnx.Rngs):
        self.config = config
        features = config.expert_features
        self.image_norm = ImageNorm(config.image_size)
        self.spectformer = spectformer.SpectFormer(config, rngs=rngs)
        self.efficientvit = nnx.List(efficientvit.layers(config, rngs=rngs))
        self.expert_norm = _layer_norm(features, rngs)
        self.gate = nnx.Linear(
            features, features, kernel_init=torch_init.kernel_init,
            bias_init=torch_init.bias_init(features), rngs=rngs,
        )
        self.out_norm = _layer_norm(2 * features, rngs)

    @property
    def num_layers(self) -> int:
        return _FUSION + 1

    def prepare(
        self,
        recording: np.ndarray | jax.Array,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> jax.Array:
        """Scales pictures to 0 .. 1 and resizes them, bilinear with antialiasing, as published.

        No mean or deviation is taken out: the model's first layer does that.

        Args:
            recording: RGB pictures, (batch, height, width, 3) or (batch, 3, height, width). A
                signal is refused: how to make it a picture is not part of the model.
            sampling_rate_hz, leads, unit: must be left out, pictures have none.
            value_range: values of black and white. Needed for floats; uint8 means (0, 255).

        Returns:
            (batch, 3, 224, 224) in 0 .. 1.

        Raises:
            InputError: see `model_ports.tiny_biomoe.images`; a rate, leads or a unit.
        """
        if not sampling_rate_hz is leads is unit is None:
            raise InputError(
                "Tiny-BioMoE takes pictures, which have no sampling rate, leads or unit. A signal "
                "has to be made a picture first, and prepare does not choose how: leave out "
                "sampling_rate_hz, leads and unit and pass (batch, height, width, 3)."
            )
        return prepare_images(recording, value_range, self.config.image_size)

    def embed(self, signal: jax.Array) -> jax.Array:
        """(batch, 3, 224, 224) in 0..1 -> (batch, 3136, 64), the input of SpectFormer's stage 0."""
        return self.spectformer.stem(self._image(signal))

    def _image(self, signal: jax.Array) -> jax.Array:
        size = self.config.image_size
        check_signal(signal, ("batch", 3, size, size), "Tiny-BioMoE")
        image = jnp.asarray(signal, jnp.float32).transpose(0, 2, 3, 1)
        return self.image_norm(image).astype(self.config.dtype)

    def context(self, signal: jax.Array) -> Context:
        """Returns the normalised image and both experts' results."""
        image = self._image(signal)
        pixels = as_tokens(image)
        first = super().run(self.spectformer.stem(image), 0, _VIT)
        second = super().run(pixels, _VIT, _FUSION)
        return Context(pixels, self.spectformer.result(first), token_mean(second))

    def run(self, tokens: jax.Array, start: int, stop: int, context: Any = ()) -> jax.Array:
        if not 0 <= start < _FUSION or stop != self.num_layers:
            return super().run(tokens, start, stop, context)
        other = _needed(context)
        if start > _VIT or (start == _VIT and not self._is_output(_VIT - 1, tokens)):
            return super().run(tokens, start, stop, context)
        # EfficientViT does not depend on these tokens: its result is in the context.
        first = self.spectformer.result(super().run(tokens, start, _VIT, context))
        return self.layer(_FUSION, self._fuse(first, other.efficientvit), context)

    def layer_input(self, i: int, signal: jax.Array) -> jax.Array:
        context = self.context(signal)
        before = self.run(self.embed(signal), 0, i, context)
        return before if i == self.num_layers else self._enter(i, before, context)

    def layer(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        tokens = self._enter(i, tokens, context)
        if i < _VIT - 1:
            return self.spectformer.blocks[i](tokens)
        if i == _VIT - 1:
            return self.spectformer.class_block(tokens)
        if i < _FUSION:
            return self.efficientvit[i - _VIT](tokens)
        return self.out_norm(tokens)

    def _is_output(self, i: int, tokens: jax.Array) -> bool:
        return tokens.shape[1:] == self.config.layer_shapes()[i][1]

    def _enter(self, i: int, tokens: jax.Array, context: Any) -> jax.Array:
        """Input of layer `i`, from itself or from the output of the layer before."""
        wanted = self.config.layer_shapes()[i][0]
        if tokens.shape[1:] == wanted:
            return tokens
        if i == 0 or not self._is_output(i - 1, tokens):
            raise InputError(
                f"layer {i} of Tiny-BioMoE takes (batch, {wanted[0]}, {wanted[1]}), "
                f"not {tuple(tokens.shape)}."
            )
        if i < _VIT:
            return self.spectformer.enter(i, tokens)
        if i == _VIT:
            return _needed(context).image
        return self._fuse(_needed(context).spectformer, token_mean(tokens))

    def _fuse(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """Both experts' results -> (batch, 1, 2 * features): normalised, gated, side by side."""
        return jnp.concatenate([self._gated(first), self._gated(second)], axis=-1)[:, None]

    def _gated(self, result: jax.Array) -> jax.Array:
        result = result.astype(jnp.float32)
        gate = jnp.clip(self.gate(jax.nn.elu(result)), 0, 1)
        return self.expert_norm(result) * gate

    def activations(self, signal: jax.Array, pool: Pool = "mean") -> Activations:
        image = self._image(signal)
        pixels = as_tokens(image)
        inputs, outputs = [], []

        def through(tokens: jax.Array, start: int, stop: int) -> jax.Array:
            for i in range(start, stop):
                entered = self._enter(i, tokens, ())
                is_output = entered is tokens and i > start
                inputs.append(outputs[-1] if is_output else self.pooled(entered, pool))
                tokens = self.layer(i, entered, ())
                outputs.append(self.pooled(tokens, pool))
            return tokens

        first = self.spectformer.result(through(self.spectformer.stem(image), 0, _VIT))
        second = token_mean(through(pixels, _VIT, _FUSION))
        tokens = through(self._fuse(first, second), _FUSION, self.num_layers)
        return Activations(tuple(inputs), tuple(outputs), self.readout(tokens))

    def __call__(self, signal: jax.Array) -> jax.Array:
        context = self.context(signal)
        return self.layer(_FUSION, self._fuse(context.spectformer, context.efficientvit), context)

    def layer_shape(self, i: int, signal_shape: tuple[int, ...]) -> tuple[int, int]:
        size = self.config.image_size
        check_signal(
            jax.ShapeDtypeStruct(tuple(signal_shape), jnp.float32),
            ("batch", 3, size, size), "Tiny-BioMoE",
        )
        shapes = self.config.layer_shapes()
        return shapes[-1][1] if i == self.num_layers else shapes[i][0]


def _needed(context: Any) -> Context:
    if not isinstance(context, Context):
        raise InputError(
            "Tiny-BioMoE's experts meet in its last layer: pass context=encoder.context(signal), "
            "or its mean where there is no signal."
        )
    return context


def _layer_norm(features: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(features, epsilon=1e-5, use_fast_variance=False, rngs=rngs)


# (3, height, width) -> (height, width, 3)
_IMAGE = sd.Layout(lambda x: x.transpose(1, 2, 0), lambda s: ((s[2], s[0], s[1]),))


def entries(config: TinyBiomoeConfig) -> list[sd.Entry]:
    """The published entry of every parameter."""
    out = [
        sd.entry("image_norm.scale", "ln_img.weight", _IMAGE),
        sd.entry("image_norm.bias", "ln_img.bias", _IMAGE),
    ]
    out += spectformer.entries("spectformer", "enc1")
    out += efficientvit.entries("efficientvit", "enc2", config)
    out += sd.norm("expert_norm", "ln_e") + sd.linear("gate", "fcn.1")
    return out + sd.norm("out_norm", "ln_out")


PORTS = (
    Port(
        name="tiny_biomoe",
        module=TinyBiomoe,
        config=TinyBiomoeConfig(),
        entries=entries,
        # buffers that follow from the configuration
        ignored=(r".*\.num_batches_tracked", r".*\.attention_bias_idxs"),
    ),
)
