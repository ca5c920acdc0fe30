"""How a recording becomes input of an encoder family: the one table that knows.

A recipe says what is done, in this order: resampling to the filter's rate and band pass (where it
has one), resampling to the encoder's rate, scaling, normalisation, cutting, layout.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxbridge.data import preprocess
from jaxbridge.data.checks import check_signal
from jaxbridge.data.lazy_windows import CutWindows
from jaxbridge.data.recording import Recording
from jaxbridge.data.stages import Samples, whole
from model_ports.errors import InputError

_PER_VOLT = {"uV": 1e6, "mV": 1e3, "V": 1.0}
_RESAMPLE = {
    "polyphase": preprocess.polyphase_resample,
    "linear": preprocess.linear_resample,
    "fourier": preprocess.fourier_resample,
}
_FILTERS = {
    "fir": preprocess.fir_bandpass,
    "chebyshev": preprocess.chebyshev_bandpass,
}
_LAYOUTS = ("patches", "flat", "channels", "picture")


@dataclass(frozen=True)
class Bandpass:
    """Zero-phase band pass from `low_hz` to `high_hz`, at `sampling_rate_hz`."""

    low_hz: float
    high_hz: float
    order: int
    sampling_rate_hz: float
    kind: Literal["fir", "chebyshev"] = "fir"


@dataclass(frozen=True)
class Recipe:
    """Preprocessing for one encoder family.

    Attributes:
        sampling_rate_hz: of the encoder's input.
        min_sampling_rate_hz: slower recordings are refused: they lack the encoder's band.
        unit: unit that the signal is brought to first; None where normalisation makes it moot.
        unit_scale: factor on the signal in that unit.
        bandpass: filter, or None.
        resampling: 'polyphase' (anti-aliased, ours), 'linear' (the reference's rule) or 'fourier'
            (the reference's rule for PPG).
        normalise: z-score per lead over the whole 'recording', over each 'window', or 'none'.
        layout: 'patches' (leads, seconds, samples per second), 'flat' (leads * samples,),
            'channels' (leads, samples) or 'picture' (3, 224, 224), see
            `model_ports.representations`.
        max_leads: most leads that the encoder takes; None for any number.
        twelve_leads: whether the encoder wants 'all' of the twelve ECG leads, in their order, or
            takes 'fewer'; None where leads are not these.
    """

    sampling_rate_hz: float
    min_sampling_rate_hz: float
    unit: str | None
    unit_scale: float
    bandpass: Bandpass | None
    resampling: Literal["polyphase", "linear", "fourier"]
    normalise: Literal["none", "recording", "window"]
    layout: Literal["patches", "flat", "channels", "picture"]
    max_leads: int | None = None
    twelve_leads: Literal["all", "fewer"] | None = None

    @property
    def is_local(self) -> bool:
        """Whether resampling and filter act on the neighbourhood of a sample only."""
        return self.resampling == "linear" and (
            self.bandpass is None or self.bandpass.kind == "fir"
        )

    def __post_init__(self) -> None:
        for field, known in (
            ("resampling", tuple(_RESAMPLE)),
            ("normalise", ("none", "recording", "window")),
            ("layout", _LAYOUTS),
            ("unit", (None, *_PER_VOLT)),
        ):
            if getattr(self, field) not in known:
                raise InputError(f"Unknown {field} {getattr(self, field)!r}. Known: {known}.")

    @property
    def output_unit(self) -> str:
        if self.layout == "picture":
            return "intensity 0 to 1"
        if self.normalise != "none":
            return "standard deviations"
        return self.unit if self.unit_scale == 1 else f"{1 / self.unit_scale:g} {self.unit}"

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)


RECIPES = {
    # LaBraM: 0.1 mV units, one-second patches at 200 Hz. The reference resamples linearly, which
    # folds everything above 100 Hz back into the band; resampling="linear" reproduces it.
    "labram": Recipe(200.0, 100.0, "uV", 0.01, None, "polyphase", "none", "patches"),
    # HuBERT-ECG: filtered at 500 Hz, so that linear resampling to 100 Hz folds nothing.
    "hubert_ecg": Recipe(
        100.0, 94.0, None, 1.0, Bandpass(0.05, 47.0, 150, 500.0), "linear", "recording", "flat",
        12, "fewer",
    ),
    # ECG-FM: not filtered.
    "ecg_fm": Recipe(500.0, 94.0, None, 1.0, None, "linear", "recording", "channels", 12, "all"),
    # ECG-DualNet: as HuBERT-ECG, at 300 Hz, one lead.
    "ecg_dualnet": Recipe(
        300.0, 94.0, None, 1.0, Bandpass(0.05, 47.0, 150, 500.0), "linear", "recording", "channels",
        1,
    ),
    "papagei": Recipe(
        125.0, 24.0, None, 1.0, Bandpass(0.5, 12.0, 4, 125.0, "chebyshev"), "fourier", "recording",
        "channels", 1,
    ),
    # NormWear: resampling="linear" is the reference's; of EMG at 500 Hz it folds most.
    "normwear": Recipe(130.0, 32.0, None, 1.0, None, "polyphase", "recording", "channels"),
    # Tiny-BioMoE reads pictures; of its six representations this takes one, the power spectral
    # density. `model_ports.representations.drawn_signals` draws any of them from stored signals.
    "tiny_biomoe": Recipe(200.0, 50.0, None, 1.0, None, "polyphase", "recording", "picture", 1),
}


def recipe(encoder: str, **changes) -> Recipe:
    """The recipe of an encoder family, or of an encoder of that family ('hubert_ecg_small').

    Args:
        encoder: name.
        **changes: fields to replace, for instance `normalise="window"`.

    Raises:
        InputError: unknown encoder or field value.
    """
    for family, found in RECIPES.items():
        if encoder == family or encoder.startswith(family + "_"):
            return dataclasses.replace(found, **changes)
    raise InputError(
        f"No preprocessing recipe for {encoder!r}. There are recipes for: {', '.join(RECIPES)}."
    )


def prepare(recording: Recording, recipe: Recipe) -> np.ndarray:
    """A whole recording, checked and brought to the encoder's rate and scale.

    Args:
        recording: (leads, samples) in a voltage unit where the recipe asks for one.
        recipe: what to do.

    Returns:
        (leads, samples at recipe.sampling_rate_hz) float64, normalised only where the recipe
        normalises over the recording; `layout` does the rest.

    Raises:
        InputError: see `check_signal`; too many leads; too slow a recording; a unit that is no
            voltage; a recording too short for the filter.
    """
    signal, rate, name = recording.signal, recording.sampling_rate_hz, recording.name
    check_signal(signal, rate, recording.leads, name)
    if recipe.max_leads is not None and len(signal) > recipe.max_leads:
        raise InputError(
            f"{name}: {len(signal)} leads ({', '.join(recording.leads)}), this encoder takes "
            f"{recipe.max_leads}. Choose among them."
        )
    if rate < recipe.min_sampling_rate_hz:
        raise InputError(
            f"{name}: sampling rate {rate:g} Hz is too low: leads {', '.join(recording.leads)} need "
            f"at least {recipe.min_sampling_rate_hz:g} Hz for this encoder. Check the stated rate "
            "or leave the recording out."
        )
    signal = filtered(signal, rate, recipe, name)
    if recipe.unit is not None:
        signal = signal * (_volt_factors(recording, recipe.unit) * recipe.unit_scale)[:, None]
    return preprocess.zscore(signal) if recipe.normalise == "recording" else signal


def filtered(
    signal: np.ndarray, sampling_rate_hz: float, recipe: Recipe, name: str
) -> np.ndarray:
    """A signal band-passed where the recipe says so, at the encoder's rate; neither checked nor scaled.

    Args:
        signal: (rows, samples), each row on its own.
        sampling_rate_hz: of the signal.
        recipe: what to do.
        name: the recording, for messages.

    Returns:
        (rows, samples at recipe.sampling_rate_hz) float64.

    Raises:
        InputError: a signal too short for the filter or the resampling; rates that do not fit it.
    """
    band = recipe.bandpass
    try:
        if recipe.is_local:
            return _filtered_in_pieces(signal, sampling_rate_hz, recipe)
        resample = _RESAMPLE[recipe.resampling]
        rate = sampling_rate_hz
        if band is not None:
            signal = resample(signal, rate, band.sampling_rate_hz)
            rate = band.sampling_rate_hz
            signal = _FILTERS[band.kind](signal, rate, band.low_hz, band.high_hz, band.order)
        return resample(signal, rate, recipe.sampling_rate_hz)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _filtered_in_pieces(signal: np.ndarray, rate: float, recipe: Recipe) -> np.ndarray:
    stage, band = Samples(signal), recipe.bandpass
    if band is not None:
        stage = preprocess.interpolated(stage, rate, band.sampling_rate_hz)
        rate = band.sampling_rate_hz
        stage = preprocess.fir_bandpassed(stage, rate, band.low_hz, band.high_hz, band.order)
    return whole(preprocess.interpolated(stage, rate, recipe.sampling_rate_hz))


def _volt_factors(recording: Recording, unit: str) -> np.ndarray:
    unknown = [known for known in recording.unit if known not in _PER_VOLT]
    if unknown:
        raise InputError(
            f"{recording.name}: unit {unknown[0]!r} is no known voltage ({', '.join(_PER_VOLT)}), "
            f"but this encoder needs {unit}. State the unit of the recording."
        )
    return np.array([_PER_VOLT[unit] / _PER_VOLT[given] for given in recording.unit])


def layout(windows: np.ndarray | CutWindows, recipe: Recipe) -> np.ndarray | CutWindows:
    """Cut windows in the shape that the encoder reads.

    Args:
        windows: (windows, leads, samples) from `prepare` and `windows.cut`, or not yet cut.
        recipe: what to do.

    Returns:
        float32 of shape (windows, leads, seconds, samples per second) for 'patches', (windows,
        leads * samples) for 'flat', (windows, leads, samples) for 'channels', (windows, 3, 224, 224)
        for 'picture'; z-scored per window where the recipe says so. Windows not yet cut are left so
        where only their shape changes.

    Raises:
        InputError: patches asked for windows that are not whole seconds; windows too short for a
            picture.
    """
    if recipe.normalise == "window":
        windows = preprocess.zscore(windows)
    count, leads, samples = windows.shape
    if recipe.layout == "picture":
        # Drawn by JAX, which no other recipe needs.
        from model_ports.representations import represent

        if not count:
            return np.empty((0, 3, 224, 224), np.float32)
        return np.asarray(represent(windows[:, 0], "spectrogram_psd"))
    shape = _window_shape(leads, samples, recipe)
    if isinstance(windows, CutWindows):
        return windows.shaped(*shape)
    return windows.reshape(count, *shape).astype(np.float32, copy=False)


def _window_shape(leads: int, samples: int, recipe: Recipe) -> tuple[int, ...]:
    if recipe.layout == "flat":
        return (leads * samples,)
    if recipe.layout == "channels":
        return (leads, samples)
    patch = round(recipe.sampling_rate_hz)
    if samples % patch:
        raise InputError(
            f"Windows of {samples / recipe.sampling_rate_hz:g} s do not fill patches of one "
            "second. Choose whole seconds for window_s."
        )
    return (leads, samples // patch, patch)
