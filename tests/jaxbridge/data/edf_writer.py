"""A minimal EDF and BDF writer, so that tests know every byte of the files they read."""

from pathlib import Path

import numpy as np


def write_edf(
    path: Path,
    signals: dict[str, np.ndarray],
    *,
    sampling_rate_hz: float | dict[str, float],
    unit: str | dict[str, str] = "uV",
    physical_max: float = 1000.0,
    record_s: int = 1,
    reserved: str = "",
    labels: list[str] | None = None,
) -> None:
    """Writes physical values, clipped to +-physical_max, in records of `record_s` seconds."""
    bits = 24 if path.suffix == ".bdf" else 16
    top = 2 ** (bits - 1) - 1
    names = list(signals)
    rate = sampling_rate_hz if isinstance(sampling_rate_hz, dict) else {}
    units = unit if isinstance(unit, dict) else {}
    per_record = [int(rate.get(name, sampling_rate_hz) * record_s) for name in names]
    num_records = len(signals[names[0]]) // per_record[0]

    def column(width, values):
        return "".join(f"{value!s:<{width}}"[:width] for value in values)

    count = len(names)
    main = (
        column(80, ["X X X X", "Startdate X X X X"])
        + "01.01.2000.00.00"
        + column(8, [256 * (count + 1)])
        + column(44, [reserved])
        + column(8, [num_records, record_s])
        + column(4, [count])
    )
    first = b"\xffBIOSEMI" if bits == 24 else b"0       "
    head = (
        column(16, labels or names)
        + column(80, [""] * count)
        + column(8, [units.get(name, unit) for name in names])
        + column(8, [-physical_max] * count)
        + column(8, [physical_max] * count)
        + column(8, [-top] * count)
        + column(8, [top] * count)
        + column(80, [""] * count)
        + column(8, per_record)
        + column(32, [""] * count)
    )
    scaled = [
        np.clip(np.round(signals[name] / physical_max * top), -top, top).astype("<i4")
        for name in names
    ]
    with path.open("wb") as file:
        file.write(first + main.encode("latin-1") + head.encode("latin-1"))
        for record in range(num_records):
            for values, step in zip(scaled, per_record, strict=True):
                part = values[record * step : (record + 1) * step]
                whole = part.view(np.uint8).reshape(-1, 4)[:, : bits // 8]
                file.write(whole.tobytes())
