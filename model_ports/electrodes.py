"""LaBraM's table of EEG electrode positions."""

from model_ports.errors import InputError

# Row 1 + i of the published position table belongs to electrode i; row 0 is the class token's.
# The order is a fact of the checkpoint (github.com/935963004/LaBraM, utils.py, first 128 names).
LABRAM_ELECTRODES: tuple[str, ...] = tuple(
    """
    FP1 FPZ FP2 AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10
    F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 F10
    FT9 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 FT10
    T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10
    TP9 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10
    P9 P7 P5 P3 P1 PZ P2 P4 P6 P8 P10
    PO9 PO7 PO5 PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10
    O1 OZ O2 O9 CB1 CB2 IZ O10 T3 T5 T4 T6 M1 M2 A1 A2
    CFC1 CFC2 CFC3 CFC4 CFC5 CFC6 CFC7 CFC8
    CCP1 CCP2 CCP3 CCP4 CCP5 CCP6 CCP7 CCP8
    T1 T2 FTT9H TTP7H TPP9H FTT10H TPP8H TPP10H
    FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2
    """.split()
)


def labram_position_rows(leads: tuple[str, ...]) -> tuple[int, ...]:
    """Returns the position-table row of each lead; names are matched without regard to case.

    Both T3 and T7 (T4/T8, T5/P7, T6/P8) have rows of their own, trained on recordings that used
    that name, so names are taken as they are.

    Raises:
        InputError: a lead has no row, or there is none.
    """
    if not leads:
        raise InputError("LaBraM: leads is empty; name the signal's, such as leads=('F3', 'C3').")
    rows = {name: 1 + i for i, name in enumerate(LABRAM_ELECTRODES)}
    if unknown := [lead for lead in leads if lead.upper() not in rows]:
        raise InputError(
            f"LaBraM has no position for lead {', '.join(unknown)}; "
            f"it knows {', '.join(LABRAM_ELECTRODES)}."
        )
    return tuple(rows[lead.upper()] for lead in leads)
