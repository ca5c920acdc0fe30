"""Lead names: finding the leads somebody asked for among those a recording has.

Files spell one electrode in many ways: `Fp1`, `FP1`, `EEG Fp1`, `EEG FP1-REF`, `Fp1.`. The four
electrodes renamed in 1991 (T3, T4, T5, T6, now T7, T8, P7, P8) count as one electrode each.
"""

import re
from collections.abc import Sequence

from model_ports.errors import InputError

_MODALITIES = {"EKG": "ECG", "POL": None}
_PREFIX = re.compile(r"^(EEG|ECG|EKG|EMG|EOG|PPG|POL|RESP)[\s_:-]+(.+)$")
_REFERENCE = re.compile(
    r"^(.+?)[\s_:/-]+(REF|LE|LER|RE|AR|AVG|AV|CAR|A1|A2|M1|M2|A1A2|M1M2|A1\+A2|M1\+M2)$"
)
_EARS = ("A1", "A2", "M1", "M2")
_RENAMED = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}

# (modality or None where the name states none, electrode)
_Key = tuple[str | None, str]


def _plain(name: str) -> str:
    return " ".join(name.upper().split()).rstrip(".")


def _electrode(name: str) -> _Key:
    """The modality and electrode that a name states; its reference is kept."""
    modality, base = None, _plain(name)
    if match := _PREFIX.match(base):
        modality = _MODALITIES.get(match[1], match[1])
        base = match[2]
    return modality, _RENAMED.get(base, base)


def _without_reference(name: str) -> _Key:
    """As `_electrode`, with a common reference ('-REF', '-A2') dropped.

    A2-A1 keeps its name: it is the difference of the two ears, not an electrode against one.
    """
    modality, base = _electrode(name)
    match = _REFERENCE.match(base)
    if match and not (match[1] in _EARS and match[2][:2] in _EARS):
        base = match[1]
    return modality, _RENAMED.get(base, base)


def _agree(one: _Key, other: _Key) -> bool:
    return one[1] == other[1] and (one[0] is None or other[0] is None or one[0] == other[0])


def find(available: Sequence[str], wanted: str) -> list[int]:
    """Indices of all leads that `wanted` may mean, by the strictest reading that finds any.

    The readings are those of `pick`.
    """
    exact = [i for i, name in enumerate(available) if _plain(name) == _plain(wanted)]
    if exact:
        return exact
    for reading in (_electrode, _without_reference):
        key = reading(wanted)
        found = [i for i, name in enumerate(available) if _agree(reading(name), key)]
        if found:
            return found
    return []


def pick(available: Sequence[str], wanted: Sequence[str], *, name: str = "") -> list[int]:
    """Indices into `available` of the `wanted` leads, in the order wanted.

    Names are compared without regard to case, in three steps, the first that finds something
    deciding: as spelled; without a modality prefix ('EEG ', 'ECG ') and with T3=T7, T4=T8, T5=P7,
    T6=P8; without a common reference ('-REF', '-A2') too. Names that state different modalities
    never match.

    Args:
        available: lead names of the recording.
        wanted: lead names asked for.
        name: the recording, for the message.

    Raises:
        InputError: a lead is missing, could be several leads, or is asked for twice.
    """
    where = f" in {name}" if name else ""
    indices: list[int] = []
    for lead in wanted:
        found = find(available, lead)
        if not found:
            raise InputError(
                f"No lead {lead!r}{where}. It has: {', '.join(available)}. "
                "Ask for leads among these."
            )
        if len(found) > 1:
            candidates = ", ".join(repr(available[i]) for i in found)
            raise InputError(
                f"Lead {lead!r}{where} is ambiguous: it could be {candidates}. "
                "Give the full name of the one meant; rename leads that share a name."
            )
        if found[0] in indices:
            other = wanted[indices.index(found[0])]
            raise InputError(
                f"Leads {other!r} and {lead!r}{where} are the same lead, "
                f"{available[found[0]]!r}. Ask for it once."
            )
        indices.append(found[0])
    return indices
