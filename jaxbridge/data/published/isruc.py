"""ISRUC-Sleep, subgroup 1: EEG and ECG of 100 people asleep (Khalighi et al., 2016).

Layout: `ExtractedChannels/subjectK.mat` (MATLAB v5) with one array (epochs, 6000) per channel, 30 s at
200 Hz, EEG in uV; `RawData/K/K_1.txt` with one sleep stage per line by the first expert: 0 wake, 1 N1,
2 N2, 3 N3, 5 REM. The last 30 lines have no epoch: those were left out of the extracted channels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.io
import scipy.signal  # noqa: F401  loaded before workers are forked, not in each

from jaxbridge.data.checks import check_signal
from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.epoch_filter import filtered_epochs
from jaxbridge.data.lazy_windows import LazyWindows
from jaxbridge.data.preprocess import zscore
from jaxbridge.data.published.encoder_input import SingleLead, published_recipe
from jaxbridge.data.published.mat5 import mapped_arrays
from jaxbridge.data.published.source_files import existing_folder, leave_out
from jaxbridge.data.recipes import Recipe, filtered, layout
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import samples_per_window
from model_ports.errors import InputError

SUBJECTS = tuple(f"subject{number}" for number in range(1, 101))
EEG_LEADS = ("F3", "C3", "O1", "F4", "C4", "O2")
EEG_CHANNELS = ("F3_A2", "C3_A2", "O1_A2", "F4_A1", "C4_A1", "O2_A1")
ECG_CHANNEL = "X2"
SAMPLING_RATE_HZ, EPOCH_S, LINES_WITHOUT_EPOCH = 200.0, 30.0, 30
_EPOCH_SAMPLES = round(SAMPLING_RATE_HZ * EPOCH_S)
# So many samples or epochs at a time, whose steps stay in the cache.
_COLUMNS, _EPOCHS = 500, 64
_STAGES = (0, 1, 2, 3, 5)
_CLASS_NAMES = {5: ("wake", "N1", "N2", "N3", "REM"), 2: ("wake", "sleep")}
_FILE = re.compile(r"^(subject(\d+))\.mat$")


@dataclass(frozen=True)
class Isruc:
    """The data set as windows of 'eeg' and 'ecg', the scored epochs of 30 s; see `dataset.Dataset`.

    Prepared as by BioX-Bridge, each epoch on its own: EEG only scaled for LaBraM; ECG filtered,
    resampled and z-scored, where a constant epoch becomes 0.

    Attributes:
        folder: with ExtractedChannels and RawData.
        eeg_encoder, ecg_encoder: encoders to prepare for.
        classes: 2 (wake, sleep) or 5 (wake, N1, N2, N3, REM).
        missing_leads: what ECG-FM reads in place of the eleven leads that are not there, "zero" or
            "repeat".
        without: subjects to leave out, such as "subject8".

    Raises:
        InputError: an unknown encoder, number of classes or choice.
    """

    folder: str | Path
    eeg_encoder: str = "labram"
    ecg_encoder: str = "hubert_ecg_small"
    classes: int = 2
    missing_leads: str = "zero"
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes not in _CLASS_NAMES:
            raise InputError(f"ISRUC-Sleep has 2 or 5 classes, not {self.classes!r}.")
        if self._eeg.max_leads is not None:
            raise InputError(
                f"{self.eeg_encoder} cannot read the {len(EEG_LEADS)} EEG leads of ISRUC-Sleep. "
                "Choose labram."
            )
        for rate in (self._ecg.recipe.sampling_rate_hz, self._eeg.sampling_rate_hz):
            samples_per_window(EPOCH_S, rate)

    @staticmethod
    def how_to_get() -> str:
        """Where the files are, on which terms, and how they have to lie."""
        return (
            "ISRUC-Sleep, subgroup 1: https://sleeptight.isr.uc.pt/?page_id=48, doi\n"
            "10.1016/j.cmpb.2015.10.013. Free for research, with its paper cited. 100 archives\n"
            "(dataset.isr.uc.pt/ISRUC_Sleep/subgroupI/K.rar) and 100 files\n"
            "(.../ISRUC_Sleep/ExtractedChannels/subgroupI-Extractedchannels/subjectK.mat), tens\n"
            "of GB. Unpack the archives (of them K_1.txt is read) and name the folder with:\n"
            "    ExtractedChannels/subject1.mat ... subject100.mat\n"
            "    RawData/1/1_1.txt ... RawData/100/100_1.txt"
        )

    @property
    def _ecg(self) -> SingleLead:
        return SingleLead(self.ecg_encoder, self.missing_leads)

    @property
    def _eeg(self):
        return published_recipe(self.eeg_encoder)

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """Recording ('subject1') -> subject, the same, sorted.

        Raises:
            InputError: no such folder; no subject in it; a subject without its stages; a subject to
                leave out that is not there.
        """
        folder = existing_folder(self.folder, self.how_to_get())
        channels = existing_folder(folder / "ExtractedChannels", self.how_to_get())
        found = [match[1] for path in channels.iterdir() if (match := _FILE.match(path.name))]
        if not found:
            raise InputError(f"{channels} has no subjectK.mat.\n{self.how_to_get()}")
        left = leave_out(found, self.without, channels)
        for name in left:
            if not (stages := folder / self.sources_of(name)[1]).is_file():
                raise InputError(
                    f"{stages} is missing. Get it, or leave {name} out.\n{self.how_to_get()}"
                )
        return {name: name for name in left}

    def check(self) -> list[str]:
        """What is missing of the published data set, one line each. Signals are not read.

        Raises:
            InputError: see `recordings`; a subject whose channels are missing or have another shape, or
                whose stages are not as many as its epochs.
        """
        for name in self.recordings:
            mat, stages = (Path(self.folder) / file for file in self.sources_of(name))
            shapes = {channel: shape for channel, shape, _ in _opened(scipy.io.whosmat, mat)}
            epochs = _check_shapes(shapes, mat)
            read_stages(stages, epochs)
        missing = [name for name in SUBJECTS if name not in self.recordings]
        return [
            f"ExtractedChannels/{name}.mat is missing" for name in missing if name not in self.without
        ]

    def sources_of(self, recording: str) -> Sequence[str]:
        number = recording.removeprefix("subject")
        return f"ExtractedChannels/{recording}.mat", f"RawData/{number}/{number}_1.txt"

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        ecg, eeg = self._ecg, self._eeg
        per_epoch = {"prepared_by": "epoch"}
        return {
            "dataset": "isruc",
            "modalities": {
                "eeg": {
                    "sampling_rate_hz": eeg.sampling_rate_hz,
                    "unit": eeg.output_unit,
                    "leads": list(EEG_LEADS),
                    "preprocessing": eeg.as_dict() | per_epoch,
                },
                "ecg": {
                    "sampling_rate_hz": ecg.recipe.sampling_rate_hz,
                    "unit": ecg.recipe.output_unit,
                    "leads": list(ecg.leads),
                    "preprocessing": ecg.recipe.as_dict()
                    | per_epoch
                    | {"missing_leads": self.missing_leads},
                },
            },
            "class_names": list(_CLASS_NAMES[self.classes]),
            "labels": "sleep stage of the epoch by the first expert",
            "window_s": EPOCH_S,
            "step_s": EPOCH_S,
            "sources": sha256_of_files(
                self.folder, (file for name in self.recordings for file in self.sources_of(name))
            ),
        }

    def windows(self, recording: str) -> WindowBatch:
        """Reads one subject.

        Raises:
            InputError: a damaged file; a channel that is missing or has another shape; NaN; a channel
                that is constant all night; stages that are unknown or not as many as the epochs.
        """
        mat, stages = (Path(self.folder) / file for file in self.sources_of(recording))
        wanted = [*EEG_CHANNELS, ECG_CHANNEL]
        content = _channels(mat, wanted)
        shapes = {name: content[name].shape for name in wanted if name in content}
        epochs = _check_shapes(shapes, mat)
        labels = _classes(read_stages(stages, epochs), self.classes)
        for name in wanted:
            _check(content[name], name, mat)
        eeg = self._scaled(content)
        if eeg is None:
            channels = [content[name] for name in EEG_CHANNELS]
            eeg = layout(_by_epoch(channels, mat, self._eeg), self._eeg)
        ecg = self._ecg.layout(_by_epoch([content[ECG_CHANNEL]], mat, self._ecg.recipe))
        start_s = EPOCH_S * np.arange(epochs)
        return WindowBatch({"eeg": eeg, "ecg": ecg}, labels, recording, recording, start_s=start_s)

    def source_windows(self, recording: str) -> Mapping[str, LazyWindows]:
        """EEG that is only scaled; see `dataset.SourceDataset`."""
        mat = Path(self.folder) / self.sources_of(recording)[0]
        content = _mapped(mat, EEG_CHANNELS)
        scaled = None if content is None else self._scaled(content)
        return {} if scaled is None else {"eeg": scaled}

    def _scaled(self, content: Mapping[str, np.ndarray]) -> LazyWindows | None:
        """EEG of a recipe that does no more than scale it."""
        recipe = self._eeg
        if recipe.bandpass or recipe.normalise != "none" or recipe.sampling_rate_hz != SAMPLING_RATE_HZ:
            return None
        shape = layout(np.empty((0, len(EEG_CHANNELS), _EPOCH_SAMPLES), np.float32), recipe).shape
        return _ScaledEpochs([content[name] for name in EEG_CHANNELS], recipe.unit_scale, shape[1:])


@dataclass(frozen=True, eq=False)
class _ScaledEpochs(LazyWindows):
    """Epochs of channels (epochs, samples), transposed and scaled when they are read."""

    channels: Sequence[np.ndarray]
    scale: float
    window_shape: tuple[int, ...]
    at_a_time = _EPOCHS

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.channels[0]), *self.window_shape)

    def take(self, indices: np.ndarray) -> np.ndarray:
        neighbours = slice(indices[0], indices[-1] + 1) if len(indices) else slice(0)
        if not np.array_equal(indices, np.arange(len(self))[neighbours]):
            neighbours = indices
        windows = np.empty((len(indices), len(self.channels), _EPOCH_SAMPLES), np.float32)
        for place, channel in enumerate(self.channels):
            for some in _column_pieces():
                scaled = windows[:, place, some]
                np.multiply(channel[neighbours, some], self.scale, out=scaled, casting="same_kind")
        return windows.reshape(len(indices), *self.window_shape)


def _by_epoch(channels: Sequence[np.ndarray], mat: Path, recipe: Recipe) -> np.ndarray:
    """Channels (epochs, samples) as (epochs, channels, samples) float32, each epoch on its own."""
    out = None
    for place, channel in enumerate(channels):
        for start in range(0, len(channel), _EPOCHS):
            some = channel[start : start + _EPOCHS]
            if recipe.is_local:
                ready = filtered_epochs(some, SAMPLING_RATE_HZ, recipe, str(mat))
            else:
                ready = filtered(_row_by_row(some), SAMPLING_RATE_HZ, recipe, str(mat))
            ready = zscore(ready) if recipe.normalise == "recording" else ready * recipe.unit_scale
            if out is None:
                out = np.empty((len(channel), len(channels), ready.shape[-1]), np.float32)
            out[start : start + len(ready), place] = ready
    return out


def _row_by_row(matrix: np.ndarray) -> np.ndarray:
    """MATLAB's column-major array in float64 and C order."""
    rows = np.empty(matrix.shape, np.float64)
    for some in _column_pieces():
        rows[:, some] = matrix[:, some]
    return rows


def _column_pieces() -> list[slice]:
    return [slice(start, start + _COLUMNS) for start in range(0, _EPOCH_SAMPLES, _COLUMNS)]


def _check(channel: np.ndarray, name: str, mat: Path) -> None:
    """Refuses a channel that is not numbers, not finite, or constant all night."""
    if channel.dtype.kind not in "iuf":
        raise InputError(f"{mat}: {name} holds no real numbers. Get the file again.")
    low, high = channel.min(), channel.max()  # in any order, which is quicker
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        check_signal(_row_by_row(channel).reshape(1, -1), SAMPLING_RATE_HZ, [name], str(mat))


def _channels(mat: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    mapped = _mapped(mat, names)
    return _opened(scipy.io.loadmat, mat, variable_names=names) if mapped is None else mapped


def _mapped(mat: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    try:
        return mapped_arrays(mat, names)
    except OSError:
        return None  # SciPy's reader says why


def _opened(function, mat: Path, **options):
    try:
        return function(mat, **options)
    except OSError as error:
        raise InputError(
            f"{mat} cannot be read or is damaged: {error}. Get it again or check its rights."
        ) from error
    except NotImplementedError as error:
        raise InputError(
            f"{mat} is a MATLAB 7.3 file; the published ones are MATLAB 5. Get the file again."
        ) from error
    except Exception as error:  # SciPy's reader raises anything on a damaged file
        raise InputError(
            f"{mat} is damaged or no MATLAB 5 file ({type(error).__name__}: {error}). Get it again."
        ) from error


def _check_shapes(shapes: Mapping[str, tuple], mat: Path) -> int:
    """Number of epochs, the same in all channels."""
    wanted = (*EEG_CHANNELS, ECG_CHANNEL)
    if missing := [channel for channel in wanted if channel not in shapes]:
        raise InputError(
            f"{mat} has no {', '.join(missing)}. Get the file again, or leave {mat.stem} out."
        )
    epochs = shapes[wanted[0]][0]
    for channel in wanted:
        if shapes[channel] != (epochs, _EPOCH_SAMPLES) or not epochs:
            raise InputError(
                f"{mat}: {channel} has shape {shapes[channel]}, ({epochs or 'epochs'}, "
                f"{_EPOCH_SAMPLES}) is wanted: {EPOCH_S:g} s at {SAMPLING_RATE_HZ:g} Hz. Get the file "
                f"again, or leave {mat.stem} out."
            )
    return epochs


def read_stages(path: Path, epochs: int) -> np.ndarray:
    """Sleep stages of the epochs, as published (5 is REM).

    Args:
        path: of the text file, one stage per line; blank lines at the end do not count.
        epochs: how many the signals have; the file has 30 lines more.

    Returns:
        (epochs,) int64.

    Raises:
        InputError: the file cannot be read, a line is no stage, or there are too few or too many.
    """
    try:
        lines = path.read_text(encoding="ascii").rstrip().splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Get it again.") from error
    stages = [line.strip() for line in lines]
    known = [str(stage) for stage in _STAGES]
    if bad := [i for i, stage in enumerate(stages) if stage not in known]:
        raise InputError(
            f"{path}: line {bad[0] + 1} is {lines[bad[0]]!r}, none of the stages "
            f"{', '.join(known)}. Get the file again."
        )
    if len(stages) != epochs + LINES_WITHOUT_EPOCH:
        raise InputError(
            f"{path} has {len(stages)} stages for {epochs} epochs; {epochs + LINES_WITHOUT_EPOCH} are "
            f"wanted, the last {LINES_WITHOUT_EPOCH} without epoch. Which stage belongs to which epoch "
            f"is not certain: get both files again, or leave subject{path.parent.name} out."
        )
    return np.array(stages[:epochs], np.int64)


def _classes(stages: np.ndarray, classes: int) -> np.ndarray:
    return (stages > 0).astype(np.int64) if classes == 2 else np.where(stages == 5, 4, stages)
