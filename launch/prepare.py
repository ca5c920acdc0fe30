"""Makes a window store from a data set.

    python -m launch.prepare --dataset=eegmat --data=DIR --out=DIR

Run again with the same flags and files, it finds its store finished and does nothing.
"""

import numpy as np
from absl import flags

from jaxbridge.data.eegmat import EEG_LEADS, Eegmat
from jaxbridge.data.recipes import recipe
from jaxbridge.data.store import WindowStore, ensure_store
from launch.script import run

_DATASET = flags.DEFINE_enum("dataset", "eegmat", ["eegmat"], "Layout of the files.")
_DATA = flags.DEFINE_string("data", None, "Folder with the recordings.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the window store to make.", required=True)
_WINDOW_S = flags.DEFINE_float("window_s", 10.0, "Length of a window in seconds.")
_STEP_S = flags.DEFINE_float("step_s", 10.0, "From one window's start to the next, in seconds.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the split by subject.")
_EEG_LEADS = flags.DEFINE_list("eeg_leads", list(EEG_LEADS), "EEG leads, in this order.")
_EEG_ENCODER = flags.DEFINE_string("eeg_encoder", "labram", "Encoder to preprocess EEG for.")
_ECG_ENCODER = flags.DEFINE_string("ecg_encoder", "hubert_ecg", "Encoder to preprocess ECG for.")
_EEG_RESAMPLING = flags.DEFINE_enum(
    "eeg_resampling",
    "polyphase",
    ["polyphase", "linear"],
    "Anti-aliased, or interpolation as in the reference.",
)
_ECG_NORMALISE = flags.DEFINE_enum(
    "ecg_normalise",
    "recording",
    ["recording", "window", "none"],
    "What the ECG's zero mean and unit standard deviation are taken over.",
)


def main() -> None:
    dataset = Eegmat(
        _DATA.value,
        recipe(_EEG_ENCODER.value, resampling=_EEG_RESAMPLING.value),
        recipe(_ECG_ENCODER.value, normalise=_ECG_NORMALISE.value),
        eeg_leads=tuple(_EEG_LEADS.value),
        window_s=_WINDOW_S.value,
        step_s=_STEP_S.value,
        seed=_SEED.value,
    )
    store, written = ensure_store(_OUT.value, dataset.metadata, dataset.batches)
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
