"""Tiny-BioMoE's hyper-parameters and the layer shapes that follow from them."""

import dataclasses

from model_ports.encoder import EncoderConfig
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyBiomoeConfig(EncoderConfig):
    """The defaults are the published model, which takes one image size only.

    Attributes:
        image_size: height and width of the image in pixels.
        stem_features: channels of SpectFormer's first convolutions.
        spectral_features: SpectFormer's channels in its two stages that gate frequencies.
        attention_features: its channels in the two stages with attention.
        attention_heads: heads in those; the last number serves the class attention too.
        mlp_ratios: hidden channels of the four stages, as a multiple.
        vit_features: EfficientViT's channels in its three stages.
        vit_heads: heads in those.
        key_features: channels of one EfficientViT query or key.
        query_kernels: width of the convolution on the query, by head.
        window: EfficientViT attends within squares of that many pixels, where a stage is larger.
    """

    name: str = "tiny_biomoe"
    sampling_rate_hz: float = 0.0
    unit: str = "intensity 0..1"
    image_size: int = 224
    stem_features: int = 32
    spectral_features: tuple[int, int] = (64, 128)
    attention_features: tuple[int, int] = (320, 96)
    attention_heads: tuple[int, int] = (10, 16)
    mlp_ratios: tuple[int, int, int, int] = (8, 8, 4, 4)
    vit_features: tuple[int, int, int] = (192, 288, 96)
    vit_heads: tuple[int, int, int] = (3, 3, 4)
    key_features: int = 16
    query_kernels: tuple[int, int, int, int] = (7, 5, 3, 3)
    window: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 32 or self.image_size <= 0:
            raise InputError(f"image_size={self.image_size} must be a multiple of 32.")
        for side in self.vit_sides:
            if side > self.window and side % self.window:
                raise InputError(
                    f"image_size={self.image_size} gives EfficientViT a stage of {side} x {side}, "
                    f"which windows of {self.window} do not divide."
                )
        if self.attention_features[1] != self.vit_features[2]:
            raise InputError(
                "both experts must end in equally many features, not "
                f"{self.attention_features[1]} and {self.vit_features[2]}."
            )
        for kind in ("attention", "vit"):
            features, heads = (getattr(self, f"{kind}_{name}") for name in ("features", "heads"))
            if any(f % h for f, h in zip(features, heads, strict=True)):
                raise InputError(f"{kind}_features={features} must divide by its heads, {heads}.")

    @property
    def expert_features(self) -> int:
        return self.vit_features[2]

    @property
    def spect_features(self) -> tuple[int, ...]:
        return *self.spectral_features, *self.attention_features

    @property
    def spect_sides(self) -> tuple[int, ...]:
        """Height and width of SpectFormer's four stages."""
        return tuple(self.image_size // n for n in (4, 8, 16, 32))

    @property
    def vit_sides(self) -> tuple[int, ...]:
        """Height and width of EfficientViT's three stages."""
        first = self.image_size // 16
        second = -(-first // 2)
        return first, second, -(-second // 2)

    def layer_shapes(self) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
        """Returns (tokens, features) of every layer's input and output."""
        shapes = [
            ((side**2, features), (side**2, features))
            for side, features in zip(self.spect_sides, self.spect_features, strict=True)
        ]
        with_class = (self.spect_sides[3] ** 2 + 1, self.expert_features)
        shapes.append((with_class, with_class))
        stages = [
            (side**2, features)
            for side, features in zip(self.vit_sides, self.vit_features, strict=True)
        ]
        shapes.append(((self.image_size**2, 3), stages[0]))
        shapes.append((stages[0], stages[0]))
        for before, after in zip(stages[:-1], stages[1:], strict=True):
            shapes += [(before, before), (before, after), (after, after), (after, after)]
        shapes.append(((1, 2 * self.expert_features),) * 2)
        return tuple(shapes)
