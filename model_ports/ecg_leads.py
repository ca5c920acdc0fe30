"""The twelve standard ECG leads: their order, their spellings, and recordings with fewer."""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from model_ports.errors import InputError

# The order of PhysioNet's and most other 12-lead data, in which HuBERT-ECG and ECG-FM were trained
# (fairseq-signals, scripts/preprocess/ecg/preprocess.py).
STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
UNSTATED = "ECG"

_PREFIX = re.compile(r"^((ECG|EKG)[\s_:.-]*)?(LEAD[\s_:.-]*)?", re.IGNORECASE)
_BY_UPPER = {name.upper(): name for name in STANDARD_LEADS}


def standard_names(leads: Sequence[str], model: str) -> tuple[str, ...]:
    """Spells ECG lead names as `STANDARD_LEADS` does.

    Case, and a prefix "ECG", "EKG" or "Lead", do not matter: "avr", "ECG II", "Lead V1". A single
    lead may be called "ECG": one of the twelve, it is not known which.

    Raises:
        InputError: a name of no standard lead, or one lead twice.
    """
    if len(leads) == 1 and re.fullmatch(r"((ECG|EKG)[\s_:.-]*)+", leads[0], re.IGNORECASE):
        return (UNSTATED,)
    found = [_BY_UPPER.get(_PREFIX.sub("", name).upper().rstrip(".")) for name in leads]
    if unknown := [name for name, known in zip(leads, found, strict=True) if known is None]:
        raise InputError(
            f"{model}: {', '.join(map(repr, unknown))} is no lead of the twelve "
            f"({', '.join(STANDARD_LEADS)}). Rename or leave out the lead; a single lead of which "
            f"it is not known which one it is goes by {UNSTATED!r}."
        )
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise InputError(f"{model}: lead {', '.join(twice)} is given twice; leave one out.")
    return tuple(found)


def arrange(
    leads: Sequence[str], wanted: Sequence[str], missing_leads: str | None, model: str, *,
    can_do_without: bool = True,
) -> np.ndarray:
    """Says which lead of a recording goes into which place of the model's input.

    Args:
        leads: of the recording, from `standard_names`.
        wanted: the model's leads, in its order.
        missing_leads: what becomes of wanted leads that the recording lacks. "none": they are
            left out; "zero": their places are filled with zeros; "repeat": their places take the
            recording's leads in turn, in the model's order.
        model: what messages call the encoder.
        can_do_without: the model takes fewer leads too, so that "none" is allowed.

    Returns:
        For each place an index into `leads`, or -1 for zeros.

    Raises:
        InputError: leads are missing and `missing_leads` does not say what to do, or what cannot
            be done; a lead that the model does not take; "zero" for a lead of unstated name.
    """
    leads = list(leads)
    choices = {
        "none": "to leave them out", "zero": "to fill them with zeros",
        "repeat": "to repeat what is there",
    }
    if not can_do_without and len(leads) < len(wanted):
        del choices["none"]
    if missing_leads not in choices and (missing_leads or len(leads) < len(wanted)):
        remedies = ", ".join(f"{choice!r} {what}" for choice, what in choices.items())
        raise InputError(
            f"{model} takes {len(wanted)} leads ({', '.join(wanted)}), the recording has "
            f"{', '.join(leads)}, and missing_leads is {missing_leads!r}. "
            f"Say what becomes of the other leads: missing_leads={remedies}."
        )
    if leads == [UNSTATED]:
        if missing_leads == "zero" and len(wanted) > 1:
            raise InputError(
                f"{model}: zeros fill all places but that of the lead given, so its name must be "
                f"known; {UNSTATED!r} will not do. (BioX-Bridge puts its single leads in the "
                f"place of {wanted[0]}: leads=('{wanted[0]}',).)"
            )
        return np.zeros(1 if missing_leads == "none" else len(wanted), np.int32)
    if extra := [name for name in leads if name not in wanted]:
        raise InputError(
            f"{model} takes {', '.join(wanted)}; leave out lead {', '.join(extra)}."
        )
    turn = itertools.cycle([leads.index(name) for name in wanted if name in leads])
    rows = []
    for name in wanted:
        if name in leads:
            rows.append(leads.index(name))
        elif missing_leads != "none":
            rows.append(next(turn) if missing_leads == "repeat" else -1)
    return np.array(rows, np.int32)
