"""Pictures of biosignals, which is how Tiny-BioMoE reads them (Gkikas et al., arXiv 2507.21875).

A representation maps signals (batch, samples) to pictures (batch, 3, 224, 224) with intensities in
0..1. The paper lists waveform, spectrogram angle, phase and power spectral density, recurrence
plot and scalogram; what it leaves open is stated where each is defined.
"""

from model_ports.representations.drawn_signals import DrawnSignals, drawn_signals
from model_ports.representations.recurrence import Recurrence
from model_ports.representations.registry import REPRESENTATIONS, represent, representation
from model_ports.representations.representation import Representation
from model_ports.representations.scalogram import Scalogram
from model_ports.representations.spectrogram import Spectrogram
from model_ports.representations.waveform import Waveform

__all__ = [
    "REPRESENTATIONS",
    "DrawnSignals",
    "Recurrence",
    "Representation",
    "Scalogram",
    "Spectrogram",
    "Waveform",
    "drawn_signals",
    "represent",
    "representation",
]
