"""Which encoders a lead suits, by what its name says it is, and its rate."""

import re

from jaxbridge.data.recipes import RECIPES
from model_ports.electrodes import LABRAM_ELECTRODES
from model_ports.lead_names import find

# In this order: the first that fits decides. Names as files have them, without regard to case.
_KINDS = (
    ("EEG", r"\bEEG\b"),
    ("EOG", r"\bEOG\b|\b[EL]OC\b|\bROC\b"),
    ("EMG", r"\bEMG\b|\bCHIN\b"),
    ("ECG", r"\b(ECG|EKG)\b|^(LEAD[\s_:.-]*)?(I{1,3}|AV[RLF]|V[1-6]?|V[XYZ]|MLI{1,3}|MV[1-6]|MCL\d?)$"),
    ("PPG", r"PPG|\bBVP\b|PLETH"),
    ("EDA", r"\bEDA\b|\bGSR\b|\bSCR?\b|ELECTRODERMAL"),
    ("respiration", r"\bRESP|\bRSP\b|\bTHOR|\bABDO|AIRFLOW|NASAL"),
    ("blood pressure", r"\bABP\b|\bART\b|\bBP\b|\bNIBP\b"),
    ("motion", r"\bACC|\bGYR|\bIMU\b"),
    ("temperature", r"\bTEMP"),
    ("oxygen saturation", r"SPO2|SAO2"),
)
# What the encoders were made for. NormWear and Tiny-BioMoE: several signals, see their papers.
_READS = {
    "labram": ("EEG",),
    "hubert_ecg": ("ECG",),
    "ecg_fm": ("ECG",),
    "ecg_dualnet": ("ECG",),
    "papagei": ("PPG",),
    "normwear": ("PPG", "ECG", "EEG", "EMG", "EDA", "motion"),
    "tiny_biomoe": ("ECG", "EMG", "EEG", "EDA", "PPG", "respiration"),
}

_EARS = ("A1", "A2", "M1", "M2")


def kind_of(name: str) -> str | None:
    """'EEG', 'ECG', 'PPG', ... as a lead's name says; None where it says nothing."""
    plain = re.sub(r"[_.]+", " ", name).strip()
    for kind, pattern in _KINDS:
        if re.search(pattern, plain, re.IGNORECASE):
            return kind
    return "EEG" if electrode(name) else None


def electrode(name: str) -> str | None:
    """The electrode of the 10-20 system and its extensions that a lead's name states.

    Of two electrodes ('Fpz-Cz') it is the first, as long as it is on the head ('A2-A1' has none).
    """
    plain = re.sub(r"^EEG[\s_:-]+|[()]", "", name.strip(), flags=re.IGNORECASE).upper()
    first, _, second = plain.partition("-")
    if first in _EARS and second in _EARS:
        return None
    single = LABRAM_ELECTRODES[:-8]  # the last eight are pairs of electrodes
    for candidate in (plain, first):
        if candidate in single:
            return candidate
    return next((known for known in single if find([plain], known)), None)


def encoders_for(name: str, sampling_rate_hz: float | None) -> tuple[str, ...]:
    """Encoder families for a lead.

    Args:
        name: of the lead.
        sampling_rate_hz: None where the file does not state it: then the kind alone decides.
    """
    kind = kind_of(name)
    return tuple(
        encoder for encoder, kinds in _READS.items()
        if kind in kinds and (
            sampling_rate_hz is None
            or sampling_rate_hz >= RECIPES[encoder].min_sampling_rate_hz
        )
    )
