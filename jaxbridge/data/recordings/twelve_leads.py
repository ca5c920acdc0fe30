"""Leads of a recording in the places of a twelve-lead encoder."""

from collections.abc import Sequence

import numpy as np

from jaxbridge.data.recordings.description import Modality
from model_ports import ecg_leads


def rows(modality: Modality, leads: Sequence[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Which lead goes into which place.

    A single lead without `missing_leads` stays as it is, whatever its name, where the encoder takes
    fewer leads than twelve.

    Args:
        modality: with encoder and `missing_leads`.
        leads: names.
        where: for messages.

    Returns:
        Names of the places, and for each the index of its lead, or -1 for zeros.

    Raises:
        InputError: see `ecg_leads.standard_names` and `ecg_leads.arrange`.
    """
    wanted = modality.recipe.twelve_leads
    single = len(leads) == 1 and modality.missing_leads is None and wanted == "fewer"
    if wanted is None or single:
        return tuple(leads), np.arange(len(leads))
    names = ecg_leads.standard_names(leads, where)
    found = ecg_leads.arrange(
        names, ecg_leads.STANDARD_LEADS, modality.missing_leads, where,
        can_do_without=wanted == "fewer",
    )
    if modality.missing_leads in ("zero", "repeat"):
        return ecg_leads.STANDARD_LEADS, found
    return tuple(names[row] for row in found), found
