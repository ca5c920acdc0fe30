"""The data sets that are read in their published layout: readers, splits, and simulated stand-ins."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from jaxbridge.data.dataset import Dataset
from jaxbridge.data.eegmat import SIZES, Eegmat
from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.simulated_files import write_fog, write_isruc, write_wesad
from jaxbridge.data.published.wesad import Wesad
from jaxbridge.data.recipes import recipe
from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """Small files in the published layout, and how they are read.

    Attributes:
        write: fills a folder.
        options: of the reader.
        sizes: of the splits.
    """

    write: Callable[[pathlib.Path], None]
    options: Mapping[str, Any]
    sizes: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set.

    Attributes:
        reader: its class.
        rule: split rule where nobody says otherwise.
        sizes: of the splits, as in the paper where it states them.
        simulated: a stand-in for the files; None where there is none.
    """

    reader: type
    rule: str
    sizes: Mapping[str, float]
    simulated: Simulated | None = None


_ONE_EACH = {"train": 1, "val": 1, "pair": 1, "test": 1}
_OF_99 = {"train": 33 / 99, "val": 11 / 99, "pair": 33 / 99, "test": 22 / 99}

DATA_SETS = {
    "eegmat": DataSet(reader=Eegmat, rule="subject", sizes=SIZES),
    "wesad": DataSet(
        reader=Wesad, rule="subject", sizes={"train": 5, "val": 2, "pair": 5, "test": 3},
        simulated=Simulated(
            write=lambda folder: write_wesad(folder, ("S2", "S3", "S4", "S5"), minutes=0.5),
            options={"window_s": 10.0}, sizes=_ONE_EACH,
        ),
    ),
    "isruc": DataSet(
        reader=Isruc, rule="subject", sizes={"train": 33, "val": 11, "pair": 33, "test": 22},
        simulated=Simulated(
            write=lambda folder: write_isruc(
                folder, ("subject1", "subject2", "subject3", "subject4"), minutes=6
            ),
            options={}, sizes=_ONE_EACH,
        ),
    ),
    # One subject's, and random windows overlap by 90 %: by time, unless the paper's rule is asked for.
    "fog": DataSet(
        reader=Fog, rule="time_block", sizes=_OF_99,
        simulated=Simulated(
            write=lambda folder: write_fog(folder, tasks=1, minutes=0.5),
            options={"step_s": 1.0}, sizes=_OF_99,
        ),
    ),
}


def opened(
    name: str, folder: str | pathlib.Path, encoders: Mapping[str, str], **options: Any
) -> Dataset:
    """Returns a data set that is prepared for encoders.

    Args:
        name: in `DATA_SETS`.
        folder: with its files.
        encoders: modality -> encoder.
        options: of the reader.

    Raises:
        InputError: a modality without an encoder, or what the reader refuses.
    """
    reader = DATA_SETS[name].reader
    if reader is Eegmat:
        return Eegmat(
            folder, *(recipe(_encoder(name, encoders, modality)) for modality in ("eeg", "ecg")),
            **options,
        )
    for field in reader.__dataclass_fields__:
        modality, _, rest = field.partition("_encoder")
        if not rest and modality != field:
            options[field] = _encoder(name, encoders, modality)
    return reader(folder, **options)


def _encoder(name: str, encoders: Mapping[str, str], modality: str) -> str:
    if modality not in encoders:
        raise InputError(
            f"{name} has {modality}, but the modalities asked for are {' and '.join(encoders)}. "
            "Give --old_modality and --new_modality."
        )
    return encoders[modality]
