"""Reading EDF and BDF files.

MNE reads the samples. Its reader repairs some faults silently: it pads a file that was cut off,
and resamples leads of unequal rates to the fastest one. So the header, whose layout is fixed
(Kemp et al. 1992, doi 10.1016/0013-4694(92)90009-7), is checked against the file size first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mne

from jaxbridge.data.leads import pick
from jaxbridge.data.recording import Recording
from model_ports.errors import InputError

_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}
# What MNE itself takes for microvolt, millivolt and volt; it would read any other unit as volt.
_VOLTS = {"uV", "\u00b5V", "\u03bcV", "\x83\xcaV", "mV", "V"}
_PER_VOLT = {"uV": 1e6, "mV": 1e3, "V": 1.0}


@dataclass(frozen=True)
class EdfHeader:
    """What an EDF or BDF header says of the signals, annotation signals left out.

    `samples_per_record`, `labels` and `dimensions` (physical units as written) go by signal;
    `record_s` is the duration of a data record in seconds.
    """

    labels: tuple[str, ...]
    dimensions: tuple[str, ...]
    samples_per_record: tuple[int, ...]
    num_records: int
    record_s: float

    def sampling_rate_hz(self, index: int) -> float:
        return self.samples_per_record[index] / self.record_s


def read_header(path: str | Path) -> EdfHeader:
    """Reads and checks the header of an EDF or BDF file.

    Raises:
        InputError: no such file; neither EDF nor BDF; cut off; discontinuous (EDF+D).
    """
    path = Path(path)
    if path.suffix.lower() not in _SAMPLE_BYTES:
        raise InputError(f"{path} is named neither .edf nor .bdf. Give an EDF or BDF file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist. Check the path.")
    try:
        with path.open("rb") as file:
            main = file.read(256)
            num_signals = int(main[252:256])
            fields = file.read(256 * num_signals) if num_signals > 0 else b""
        num_records = int(main[236:244])
        record_s = float(main[244:252])
        # Field widths after the label (16): transducer 80, dimension 8, physical and digital
        # minimum and maximum 8 each, prefiltering 80, samples per record 8, reserved 32.
        texts = fields.decode("latin-1")
        labels = [texts[16 * i : 16 * (i + 1)].strip() for i in range(num_signals)]
        at = 96 * num_signals
        dimensions = [texts[at + 8 * i : at + 8 * (i + 1)].strip() for i in range(num_signals)]
        at = 216 * num_signals
        samples = [int(texts[at + 8 * i : at + 8 * (i + 1)]) for i in range(num_signals)]
        if num_signals < 1 or min(samples) < 1 or record_s < 0 or len(fields) < len(labels) * 256:
            raise ValueError("impossible header")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its rights.") from error
    except ValueError as error:
        raise InputError(
            f"{path} is no readable {path.suffix[1:].upper()} file: its header is damaged, cut off "
            "or of another format. Get the file again."
        ) from error
    if main[192:197] in (b"EDF+D", b"BDF+D"):
        raise InputError(
            f"{path} is discontinuous ({main[192:197].decode()}): its data records have gaps in "
            "time. Export it as a continuous file."
        )
    record_bytes = sum(samples) * _SAMPLE_BYTES[path.suffix.lower()]
    whole_records = (path.stat().st_size - 256 * (num_signals + 1)) // record_bytes
    if num_records < 1 or whole_records < num_records:
        raise InputError(
            f"{path} is cut off: its header promises {num_records} data records, "
            f"the file holds {max(whole_records, 0)}. Get the file again."
        )
    keep = [i for i, label in enumerate(labels) if not label.endswith("Annotations")]
    if not keep or record_s == 0:
        raise InputError(f"{path} holds annotations and no signal. Give the recording itself.")
    return EdfHeader(
        tuple(labels[i] for i in keep),
        tuple(dimensions[i] for i in keep),
        tuple(samples[i] for i in keep),
        num_records,
        record_s,
    )


def read_edf(
    path: str | Path,
    leads: Sequence[str] | None = None,
    *,
    unit: str = "uV",
    subject: str = "",
) -> Recording:
    """Reads leads of an EDF or BDF file, and only these.

    Args:
        path: the file.
        leads: names to find by `leads.pick`, also the names in the result; None for all leads
            under the file's own names.
        unit: the unit of the result, 'uV', 'mV' or 'V', whatever unit the file has.
        subject: the subject of the result.

    Returns:
        A recording with signal (leads, samples) float64 in `unit`, named after the file.

    Raises:
        InputError: see `read_header`; a lead is missing or ambiguous; the leads have different
            sampling rates or are no voltage; MNE cannot read the file.
    """
    path = Path(path)
    if unit not in _PER_VOLT:
        raise InputError(f"Unknown unit {unit!r}. Known: {', '.join(_PER_VOLT)}.")
    header = read_header(path)
    wanted = header.labels if leads is None else tuple(leads)
    indices = pick(header.labels, wanted, name=str(path))
    labels = [header.labels[i] for i in indices]
    rates = {header.labels[i]: header.sampling_rate_hz(i) for i in indices}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{lead} {rate:g} Hz" for lead, rate in rates.items())
        raise InputError(
            f"{path}: the leads have different sampling rates ({listed}). "
            "Read leads of one rate at a time."
        )
    for i in indices:
        if header.dimensions[i] not in _VOLTS:
            raise InputError(
                f"{path}: lead {header.labels[i]!r} is in {header.dimensions[i]!r}, no voltage that "
                "is known (uV, mV, V). Leave the lead out or correct the file's unit field."
            )
    reader = mne.io.read_raw_bdf if path.suffix.lower() == ".bdf" else mne.io.read_raw_edf
    try:
        # Latin-1 takes every byte: annotations, which are not read here, shall stop nothing.
        raw = reader(
            path, include=labels, stim_channel=None, preload=False, encoding="latin1", verbose="ERROR"
        )
        volts = raw.get_data(picks=[raw.ch_names.index(label) for label in labels])
    except (ValueError, RuntimeError, OSError, IndexError, AssertionError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get the file again.") from error
    rate = next(iter(rates.values()))
    return Recording(volts * _PER_VOLT[unit], rate, wanted, unit, path.name, subject)
