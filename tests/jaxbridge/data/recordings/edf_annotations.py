"""EDF+ files with an annotation signal, alone (a hypnogram) or after other signals."""

from pathlib import Path

import numpy as np

_RATE, _PHYSICAL = 200, 4.0


def write_hypnogram(
    path: Path, annotations: list[tuple[float, float, str]], *,
    signals: dict[str, np.ndarray] | None = None, date: str = "01.01.20", time: str = "00.00.00",
    begins: str = "0",
) -> None:
    """All annotations stand in the first data record; signals are at 200 Hz, "II" in mV.

    Onsets count from date and time, after which the first record `begins` in seconds.
    """
    notes = f"+{begins}\x14\x14\x00".encode() + b"".join(
        f"+{onset}".encode() + (f"\x15{duration}".encode() if duration else b"")
        + b"\x14" + text.encode() + b"\x14\x00" for onset, duration, text in annotations
    )
    notes += b"\0" * (len(notes) % 2)
    signals = signals or {}
    records = len(next(iter(signals.values()))) // _RATE if signals else 1
    names = [*signals, "EDF Annotations"]
    samples = [_RATE] * len(signals) + [len(notes) // 2]

    def column(width, values):
        return "".join(f"{value!s:<{width}}"[:width] for value in values)

    count = len(names)
    units = [{"II": "mV"}.get(name, "NU") for name in signals] + [""]
    head = (
        column(8, ["0"]) + column(80, ["X X X X", "Startdate X X X X"]) + date + time
        + column(8, [256 * (count + 1)]) + column(44, ["EDF+C"])
        + column(8, [records, 1 if signals else 0]) + column(4, [count])
        + column(16, names) + column(80, [""] * count) + column(8, units)
        + column(8, [-_PHYSICAL] * len(signals) + [-1]) + column(8, [_PHYSICAL] * len(signals) + [1])
        + column(8, [-32768] * count) + column(8, [32767] * count) + column(80, [""] * count)
        + column(8, samples) + column(32, [""] * count)
    )
    with path.open("wb") as file:
        file.write(head.encode("latin-1"))
        for record in range(records):
            for signal in signals.values():
                part = signal[record * _RATE : (record + 1) * _RATE]
                digital = np.round((part + _PHYSICAL) / (2 * _PHYSICAL) * 65535 - 32768)
                file.write(np.clip(digital, -32768, 32767).astype("<i2").tobytes())
            here = notes if record == 0 else f"+{float(begins) + record:g}\x14\x14\x00".encode()
            file.write(here.ljust(len(notes), b"\0"))
