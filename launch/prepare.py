"""Makes a window store from a data set.

    python -m launch.prepare --dataset=eegmat --data=DIR --out=DIR

Run again with the same flags and files, it finds its store finished and does nothing.
"""

import numpy as np
from absl import flags

from jaxbridge.data.store import WindowStore, ensure_store
from launch.dataset import dataset
from launch.script import run

_OUT = flags.DEFINE_string("out", None, "Folder of the window store to make.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the split by subject.")
_EEG_ENCODER = flags.DEFINE_string("eeg_encoder", "labram", "Encoder to preprocess EEG for.")
_ECG_ENCODER = flags.DEFINE_string("ecg_encoder", "hubert_ecg", "Encoder to preprocess ECG for.")


def main() -> None:
    recordings = dataset(_EEG_ENCODER.value, _ECG_ENCODER.value, _SEED.value)
    store, written = ensure_store(_OUT.value, recordings.metadata, recordings.batches)
    if not written:
        print(f"{store.path} is finished already, with the same inputs: nothing was done.")
    print(_summary(store))


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
        lines.append(f"{split:>6}: {len(chosen)} windows of {len(subjects)} subjects ({classes})")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
