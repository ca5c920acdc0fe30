"""Encoders that know leads by name, on windows whose leads have names."""

from typing import Any

from jaxbridge.data.leads import pick
from model_ports.encoder import Encoder
from model_ports.errors import InputError


def check_leads(encoder: Encoder, windows: Any, modality: str) -> None:
    """Refuses an encoder that would take the windows' leads for other ones, as their number allows.

    Args:
        encoder: LaBraM alone has a position for each lead by its name.
        windows: any; those made in memory have no names.
        modality: which of its signals.

    Raises:
        InputError: other leads, or the same in another order.
    """
    takes = getattr(encoder.config, "leads", None)
    modalities = getattr(windows, "metadata", {}).get("modalities", {})
    has = modalities.get(modality, {}).get("leads")
    if takes is None or has is None:
        return
    try:
        same = len(has) == len(takes) and pick(has, takes) == list(range(len(has)))
    except InputError:
        same = False
    if not same:
        raise InputError(
            f"the windows of {modality} have leads {', '.join(has)}, the encoder {encoder.config.name} "
            f"is for {', '.join(takes)}, in this order: load it with leads=(...) of the windows, or "
            "convert it with --leads of them."
        )
