"""Makes a window store from a data set.

    python -m launch.prepare --dataset=eegmat --data=DIR --out=DIR
    python -m launch.prepare --data=study.yaml --out=DIR          anybody's recordings, described
    python -m launch.prepare --dataset=wesad                      where to get the files

Killed, it goes on where it was when it is run again; with the same flags and files it finds its store
finished and does nothing. --skip leaves bad recordings out.
"""

import logging

import numpy as np
from absl import flags

from jaxbridge.data.dataset import Dataset
from jaxbridge.data.eegmat import Eegmat
from jaxbridge.data.recordings import Recordings
from jaxbridge.data.store import WindowStore
from launch.flags.dataset import DATA, DATASET, PAIR_FRACTION, dataset, prepared
from launch.flags.given import refuse
from launch.script import run
from model_ports.errors import InputError

_OUT = flags.DEFINE_string("out", None, "Folder of the window store to make.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the split.")
_ENCODERS = {
    modality: flags.DEFINE_string(f"{modality}_encoder", name, f"Encoder to preprocess {what} for.")
    for modality, name, what in (
        ("eeg", "labram", "EEG"), ("ecg", "hubert_ecg_small", "ECG"),
        ("ppg", "papagei", "PPG"), ("emg", "normwear", "EMG"),
    )
}
_MOST_MISSING = 5

_log = logging.getLogger("jaxbridge")


def main() -> None:
    encoders = {modality: flag.value for modality, flag in _ENCODERS.items()}
    found = dataset(encoders)
    _refuse_idle(found)
    _tell_missing(found)
    if _OUT.value is None:
        raise InputError("--out is not given: name the folder of the window store to make.")
    store, written = prepared(_OUT.value, encoders, _SEED.value, PAIR_FRACTION.value)
    if not written:
        print(f"{store.path} is finished already, with the same inputs: nothing was done.")
    print(_summary(store))


def _refuse_idle(found: Dataset) -> None:
    """Raises `InputError` where an encoder or leads are typed that the data set does not go by."""
    encoders = [f"{modality}_encoder" for modality in _ENCODERS]
    if isinstance(found, Recordings):
        refuse([*encoders, "eeg_leads"], f"is for published layouts, and {DATA.value} names its own")
        return
    fields = found.__dataclass_fields__
    for modality, flag in zip(_ENCODERS, encoders, strict=True):
        if flag not in fields and f"{modality}_recipe" not in fields:
            refuse([flag], f"is for data sets with {modality.upper()}, not for {DATASET.value}")
    if not isinstance(found, Eegmat):
        refuse(["eeg_leads"], "is for eegmat alone")


def _tell_missing(found: Dataset) -> None:
    """Logs what the folder lacks of a published data set."""
    missing = found.check() if hasattr(found, "check") else []
    for line in missing[:_MOST_MISSING]:
        _log.warning("%s", line)
    if len(missing) > _MOST_MISSING:
        _log.warning("and %d more", len(missing) - _MOST_MISSING)


def _summary(store: WindowStore) -> str:
    shapes = ", ".join(f"{name} {store.shape(name)}" for name in store.modalities)
    lines = [f"{store.path}: {store.num_windows} windows, {shapes}", f"hash {store.hash}"]
    for split in store.metadata["split"]["sizes"]:
        chosen = store.indices(split)
        counts = np.bincount(store.labels[chosen], minlength=len(store.class_names))
        classes = ", ".join(
            f"{name} {count}" for name, count in zip(store.class_names, counts, strict=True)
        )
        subjects = np.unique(store.subjects[chosen])
        people = f"{len(subjects)} subject{'' if len(subjects) == 1 else 's'}"
        lines.append(f"{split:>6}: {len(chosen)} windows of {people} ({classes})")
    overlap = store.split_report["overlap"]
    if any(overlap.values()):
        shares = ", ".join(f"{100 * share:.1f} % of {name}" for name, share in overlap.items())
        lines.append(f"overlapping a train or pair window in time: {shares}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
