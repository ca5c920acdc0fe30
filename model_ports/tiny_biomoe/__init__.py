"""Tiny-BioMoE: two small image encoders fused by gates (Gkikas et al., ICMI 2025 companion).

Published code and weights: github.com/GkikasStefanos/Tiny-BioMoE. A signal is an image of a
biosignal, (batch, 3, 224, 224) with intensities in 0..1.
"""

from model_ports.tiny_biomoe.config import TinyBiomoeConfig
from model_ports.tiny_biomoe.model import PORTS, Context, TinyBiomoe

__all__ = ["PORTS", "Context", "TinyBiomoe", "TinyBiomoeConfig"]
