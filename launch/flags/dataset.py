"""Flags that say which recordings become windows, and how they are split; shared by many scripts."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from jaxbridge.data.dataset import Dataset
from jaxbridge.data.eegmat import EEG_LEADS, Eegmat
from jaxbridge.data.preparation import prepare
from jaxbridge.data.recordings import Recordings
from jaxbridge.data.splits import RULES, SplitRule
from jaxbridge.data.store import WindowStore
from launch.flags.given import refuse
from launch.published.data_sets import DATA_SETS, opened
from model_ports.errors import InputError

_DESCRIBED = ("subject", {"train": 0.4, "val": 0.1, "pair": 0.3, "test": 0.2})
_UNLABELLED = ("subject", {"pair": 1.0})
_OF_EEGMAT = ("eeg_resampling", "ecg_normalise")
OF_SPLIT = ("split", "sizes", "guard_s", "stratify")
OF_WINDOWS = ("dataset", "classes", "window_s", "step_s", *_OF_EEGMAT, *OF_SPLIT, "skip")
"""Flags that windows are made by from recordings, but for what reads them."""
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

DATASET = flags.DEFINE_enum("dataset", "eegmat", list(DATA_SETS), "Layout of the files.")
DATA = flags.DEFINE_string(
    "data", None, "Folder with the recordings; or a .yaml that describes any recordings."
)
_CLASSES = flags.DEFINE_integer("classes", None, "Classes: 2 or 3 for wesad, 2 or 5 for isruc.")
_WINDOW_S = flags.DEFINE_float("window_s", None, "Length of a window in seconds.")
_STEP_S = flags.DEFINE_float("step_s", None, "From one window's start to the next, in seconds.")
_EEG_LEADS = flags.DEFINE_list("eeg_leads", list(EEG_LEADS), "eegmat: EEG leads, in this order.")
_EEG_RESAMPLING = flags.DEFINE_enum(
    "eeg_resampling", "polyphase", ["polyphase", "linear"],
    "eegmat: anti-aliased, or interpolation as in the reference.",
)
_ECG_NORMALISE = flags.DEFINE_enum(
    "ecg_normalise", "recording", ["recording", "window", "none"],
    "eegmat: what the ECG's zero mean and unit standard deviation are taken over.",
)
_SPLIT = flags.DEFINE_enum(
    "split", None, list(RULES),
    "What is kept together: a subject, a recording, a block of time; or random windows, as the "
    "paper has for FOG.",
)
_SIZES = flags.DEFINE_list(
    "sizes", None, "Size of each split, such as train=0.4,val=0.1,pair=0.3,test=0.2 (fractions) or "
    "train=5,val=2,pair=5,test=3 (counts).",
)
_GUARD_S = flags.DEFINE_float(
    "guard_s", None, "time_block: seconds left out between blocks; a window's length if left out."
)
_STRATIFY = flags.DEFINE_bool("stratify", False, "Make the splits alike in their classes.")
PAIR_FRACTION = flags.DEFINE_float(
    "pair_fraction", 1.0, "Share of the pair windows to use; a smaller share is part of a larger one."
)
_WORKERS = flags.DEFINE_integer(
    "workers", _CORES, "Processes that read recordings; 0 reads in this one.", lower_bound=0
)
_SKIP = flags.DEFINE_list("skip", [], "Recordings to leave out, by name.")


def eeg_leads() -> tuple[str, ...]:
    """Returns the EEG leads asked for."""
    return tuple(_EEG_LEADS.value)


def dataset(encoders: Mapping[str, str]) -> Dataset:
    """Returns the data set that the flags describe.

    Args:
        encoders: modality -> encoder that it is preprocessed for.

    Raises:
        InputError: no folder given, or a flag that does not fit.
    """
    reader = DATA_SETS[DATASET.value].reader
    if DATA.value is None:
        raise InputError(
            "--data is not given: name the folder with the recordings.\n" + reader.how_to_get()
        )
    given = {"window_s": _WINDOW_S.value, "step_s": _STEP_S.value, "classes": _CLASSES.value}
    settings = {name: value for name, value in given.items() if value is not None}
    if _is_description(DATA.value) or reader is not Eegmat:
        refuse(_OF_EEGMAT, "is for eegmat alone")
    if _is_description(DATA.value):
        refuse(["dataset"], f"is for published layouts, and {DATA.value} describes its own")
        if settings:
            raise InputError(f"--{next(iter(settings))} is stated in {DATA.value}: leave it out.")
        return Recordings.from_yaml(DATA.value)
    known = reader.__dataclass_fields__
    if unknown := [name for name in settings if name not in known]:
        raise InputError(f"--{unknown[0]} is not for {DATASET.value}: leave it out.")
    if reader is Eegmat:
        found = opened(DATASET.value, DATA.value, encoders, eeg_leads=eeg_leads(), **settings)
        return dataclasses.replace(
            found,
            eeg_recipe=dataclasses.replace(found.eeg_recipe, resampling=_EEG_RESAMPLING.value),
            ecg_recipe=dataclasses.replace(found.ecg_recipe, normalise=_ECG_NORMALISE.value),
        )
    return opened(DATASET.value, DATA.value, encoders, **settings)


def described() -> Recordings | None:
    """Returns the recordings that the .yaml of --data describes, None for a published layout.

    Raises:
        InputError: see `Recordings.from_yaml`.
    """
    return Recordings.from_yaml(DATA.value) if _is_description(DATA.value) else None


def recordings_hash(encoders: Mapping[str, str]) -> str:
    """Returns a SHA-256 of all that the windows of --data will hold: files, preprocessing, --skip.

    Raises:
        InputError: see `dataset`.
    """
    made_of = {**dataset(encoders).metadata, "skipped": sorted(_SKIP.value)}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _is_description(data: str | None) -> bool:
    return data is not None and data.endswith((".yaml", ".yml"))


def split_rule(seed: int, pair_fraction: float = 1.0) -> SplitRule:
    """Returns the split rule that the flags describe.

    Raises:
        InputError: sizes that cannot be read, or a rule that is not possible.
    """
    if _is_description(DATA.value):
        labelled = Recordings.from_yaml(DATA.value).description.labels.source != "none"
        rule, sizes = _DESCRIBED if labelled else _UNLABELLED
    else:
        found = DATA_SETS[DATASET.value]
        rule, sizes = found.rule, found.sizes
    rule = _SPLIT.value or rule
    return SplitRule(
        _sizes(_SIZES.value) if _SIZES.value else sizes, rule, seed, _GUARD_S.value,
        _STRATIFY.value, pair_fraction,
    )


def _sizes(texts: list[str]) -> dict[str, float]:
    sizes = {}
    for text in texts:
        name, _, size = text.partition("=")
        name = name.strip()
        if name in sizes:
            raise InputError(f"--sizes={','.join(texts)}: {name} is there twice. Give each split once.")
        try:
            sizes[name] = int(size) if size.strip().isdigit() else float(size)
        except ValueError:
            raise InputError(
                f"--sizes={','.join(texts)}: give a number for each split, such as "
                "train=0.4,val=0.1,pair=0.3,test=0.2."
            ) from None
    return sizes


def prepared(
    path: str | Path, encoders: Mapping[str, str], seed: int, pair_fraction: float = 1.0
) -> tuple[WindowStore, bool]:
    """Returns the store of the recordings that the flags describe, and whether it was made now.

    Raises:
        InputError: see `dataset`, `split_rule` and `preparation.prepare`.
    """
    return prepare(
        path, dataset(encoders), split_rule(seed, pair_fraction), workers=_WORKERS.value,
        skip=_SKIP.value,
    )
