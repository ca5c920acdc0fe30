"""Flags that say which recordings become windows, shared by `prepare` and `transfer`."""

from absl import flags

from jaxbridge.data.eegmat import EEG_LEADS, Eegmat
from jaxbridge.data.recipes import recipe
from model_ports.errors import InputError

DATASET = flags.DEFINE_enum("dataset", "eegmat", ["eegmat"], "Layout of the files.")
DATA = flags.DEFINE_string("data", None, "Folder with the recordings.")
WINDOW_S = flags.DEFINE_float("window_s", 10.0, "Length of a window in seconds.")
STEP_S = flags.DEFINE_float("step_s", 10.0, "From one window's start to the next, in seconds.")
_EEG_LEADS = flags.DEFINE_list("eeg_leads", list(EEG_LEADS), "EEG leads, in this order.")
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


def eeg_leads() -> tuple[str, ...]:
    """Returns the EEG leads asked for."""
    return tuple(_EEG_LEADS.value)


def dataset(eeg_encoder: str, ecg_encoder: str, seed: int) -> Eegmat:
    """Returns the data set that the flags describe, preprocessed for these encoders.

    Raises:
        InputError: no folder given, or a flag that does not fit.
    """
    if DATA.value is None:
        raise InputError("--data is not given: name the folder with the recordings.")
    return Eegmat(
        DATA.value,
        recipe(eeg_encoder, resampling=_EEG_RESAMPLING.value),
        recipe(ecg_encoder, normalise=_ECG_NORMALISE.value),
        eeg_leads=eeg_leads(),
        window_s=WINDOW_S.value,
        step_s=STEP_S.value,
        seed=seed,
    )
