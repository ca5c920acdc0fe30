"""Classifiers on embeddings of several representations and several modalities."""

from jaxbridge.fusion.classifier import FusionClassifier
from jaxbridge.fusion.fitting import FusionSettings, PictureClassifier, fit_fusion, fit_fusion_unfrozen
from jaxbridge.fusion.fuse import FUSIONS, Fuse

__all__ = [
    "FUSIONS",
    "Fuse",
    "FusionClassifier",
    "FusionSettings",
    "PictureClassifier",
    "fit_fusion",
    "fit_fusion_unfrozen",
]
