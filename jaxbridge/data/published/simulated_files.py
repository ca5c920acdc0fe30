"""Small files in the published layouts, with simulated signals: for tests and dry runs.

What a label means is put into the signals, with spread between people: stress quickens the heart and
calms its breathing variability; sleep slows the heart and has a rhythm for each stage (alpha, theta,
spindles, delta); a frozen gait trembles at 4 to 7 Hz and loses the alternation of its steps. Signals
of one person share heartbeats or state. It is a test bed, no model of physiology.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from jaxbridge.data.physiology import add_beat, band_noise, bursts, pink_noise, slow_wander
from jaxbridge.data.published import fog, isruc, wesad
from jaxbridge.data.published.python2_pickle import write_python2_pickle

# Label, and seconds in units of `minutes` (transitions: seconds).
_WESAD_PROTOCOL = ((0, None), (1, 1.0), (0, None), (3, 1.0), (4, None), (2, 1.0), (0, None), (7, None))
_TRANSITION_S = 12.0
# Label -> beats per minute above rest, breathing variability, pulse height.
_WESAD_HEART = {0: (4, 1.0, 0.9), 1: (0, 1.0, 1.0), 2: (30, 0.4, 0.5), 3: (9, 2.0, 0.8)}
_SLEEP_CYCLE = (0, 0, 1, 2, 2, 3, 3, 2, 5, 5)
# Stage -> band in Hz, amplitude in uV of its rhythm, background in uV, beats per minute above rest.
_SLEEP = {
    0: ((8.5, 11.5), 18.0, 9.0, 14), 1: ((4.0, 7.0), 10.0, 9.0, 6), 2: ((12.0, 14.5), 12.0, 12.0, 2),
    3: ((0.6, 2.0), 45.0, 12.0, -4), 5: ((4.0, 8.0), 7.0, 6.0, 8),
}
# How strongly each EEG lead sees the rhythm: alpha is occipital, all else wide-spread.
_OCCIPITAL = np.array([0.3, 0.5, 1.0, 0.3, 0.5, 1.0])


def write_wesad(
    folder: str | Path,
    subjects: Sequence[str] = wesad.SUBJECTS,
    *,
    minutes: float = 1.5,
    seed: int = 0,
) -> None:
    """Writes `Sk/Sk.pkl` per subject, all sensors in it; about 8 MB per subject and minute.

    Args:
        folder: made where it does not exist.
        subjects: names.
        minutes: of each of baseline, amusement and stress; windows of 60 s need more than one.
        seed: with the subject's name, fixes the signals.
    """
    for subject in subjects:
        rng = _generator(seed, "wesad", subject)
        parts = [
            (label, _TRANSITION_S if share is None else 60 * minutes * share)
            for label, share in _WESAD_PROTOCOL
        ]
        # Whole seconds, so that 700, 64, 32 and 4 Hz all fit.
        seconds = [round(duration) for _, duration in parts]
        label = np.repeat([part[0] for part in parts], [700 * s for s in seconds]).astype(np.int32)
        state = np.repeat([part[0] for part in parts], seconds)
        ecg, ppg = _wesad_heart(state, rng)
        total = len(state)

        def other(rate, columns, dtype=np.float64, total=total):
            return np.zeros((total * rate, columns), dtype)

        content = {
            "signal": {
                "chest": {
                    "ACC": other(700, 3), "ECG": ecg[:, None], "EMG": other(700, 1),
                    "EDA": other(700, 1), "Temp": other(700, 1, np.float32), "Resp": other(700, 1),
                },
                "wrist": {
                    "ACC": other(32, 3), "BVP": ppg[:, None], "EDA": other(4, 1),
                    "TEMP": other(4, 1),
                },
            },
            "label": label,
            "subject": subject,
        }
        path = Path(folder) / subject / f"{subject}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_python2_pickle(content, file)


def write_isruc(
    folder: str | Path,
    subjects: Sequence[str] = isruc.SUBJECTS[:10],
    *,
    minutes: float = 10.0,
    seed: int = 0,
    compressed: bool = False,
) -> None:
    """Writes `ExtractedChannels/subjectK.mat` and `RawData/K/K_1.txt`, 1 MB per subject and minute.

    Args:
        folder: made where it does not exist.
        subjects: names such as "subject1".
        minutes: of sleep; every stage occurs from 5 on.
        seed: with the subject's name, fixes the signals.
        compressed: as MATLAB 7 and later save by default.
    """
    epochs = int(60 * minutes / isruc.EPOCH_S)
    for subject in subjects:
        rng = _generator(seed, "isruc", subject)
        turn = int(rng.integers(len(_SLEEP_CYCLE)))
        lines = epochs + isruc.LINES_WITHOUT_EPOCH
        stages = [_SLEEP_CYCLE[(turn + i) % len(_SLEEP_CYCLE)] for i in range(lines)]
        channels = dict(zip(isruc.EEG_CHANNELS, _sleep_eeg(stages[:epochs], rng), strict=True))
        rest = rng.normal(58, 5)
        rates = rest + np.repeat([_SLEEP[stage][3] for stage in stages[:epochs]], round(isruc.EPOCH_S))
        beats = _beats(rates, np.full(len(rates), 0.05), rng)
        channels[isruc.ECG_CHANNEL] = 1e3 * _ecg(beats, len(rates), isruc.SAMPLING_RATE_HZ, rng)
        channels["X1"] = 5 * rng.standard_normal(channels[isruc.ECG_CHANNEL].shape)
        number = subject.removeprefix("subject")
        mat = Path(folder) / "ExtractedChannels" / f"{subject}.mat"
        text = Path(folder) / "RawData" / number / f"{number}_1.txt"
        for path in (mat, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        samples = round(isruc.SAMPLING_RATE_HZ * isruc.EPOCH_S)
        epochs_of = {name: row.reshape(-1, samples) for name, row in channels.items()}
        scipy.io.savemat(mat, epochs_of, do_compression=compressed)
        text.write_text("".join(f"{stage}\n" for stage in stages) + "\n", encoding="ascii")


def write_fog(
    folder: str | Path,
    folders: Sequence[str] = ("008/OFF_1", "008/OFF_2"),
    *,
    tasks: int | Sequence[int] = 2,
    minutes: float = 1.0,
    seed: int = 0,
) -> None:
    """Writes `FilteredData/SSS/[OFF_k/]task_n.txt`; about 10 MB per file and minute.

    Args:
        folder: made where it does not exist.
        folders: below FilteredData, see `fog.EMG_COLUMNS`.
        tasks: files in each, or their numbers.
        minutes: of each file; both labels occur from half a minute on.
        seed: with the file's name, fixes the signals.
    """
    for name in folders:
        person = _generator(seed, "fog", name.partition("/")[0])
        step_hz, tremor_hz = person.normal(0.9, 0.05), person.normal(5.5, 0.3)
        for task in range(1, tasks + 1) if isinstance(tasks, int) else tasks:
            rng = _generator(seed, "fog", name, str(task))
            path = Path(folder) / "FilteredData" / name / f"task_{task}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            table, label = _gait(name, step_hz, tremor_hz, minutes, rng)
            form = ",".join(["%d", "%s", *["%.4f"] * 25, *["%.1f"] * 33, "%d"]) + "\n"
            with path.open("w", encoding="ascii") as file:
                for i, (row, value) in enumerate(zip(table.T.tolist(), label.tolist(), strict=True)):
                    file.write(form % (i, _time_of_day(i), *row, value))


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *"/".join(names).encode()])


def _beats(bpm: np.ndarray, variability: np.ndarray, rng: np.random.Generator) -> list[tuple]:
    """Moments of heartbeats and the interval after each, from rate and variability per second."""
    breath_hz, phase = np.clip(rng.normal(0.25, 0.03), 0.15, 0.4), rng.uniform(0, 2 * np.pi)
    drift = 0.04 * slow_wander(rng, len(bpm), 1.0)
    beats, beat_s = [], rng.uniform(0, 0.5)
    while beat_s < len(bpm):
        now = int(beat_s)
        breath = np.sin(2 * np.pi * breath_hz * beat_s + phase)
        change = 1 + variability[now] * breath + 0.01 * rng.standard_normal() + drift[now]
        beats.append((beat_s, 60 / bpm[now] * change))
        beat_s += beats[-1][1]
    return beats


def _ecg(beats: list[tuple], seconds: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """ECG in mV."""
    time_s = np.arange(round(seconds * rate)) / rate
    ecg, r_mv = np.zeros(len(time_s)), np.exp(rng.normal(0, 0.2))
    for beat_s, interval_s in beats:
        add_beat(ecg, time_s, beat_s, interval_s, r_mv)
    ecg += 0.03 * rng.standard_normal(len(ecg)) + 0.1 * slow_wander(rng, len(ecg), rate)
    return ecg + 0.5 * bursts(rng, len(ecg), rate, 1, 0.3)


def _wesad_heart(state: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """ECG at 700 Hz and PPG at 64 Hz of the same heartbeats, from the label of each second."""
    heart = np.array([_WESAD_HEART.get(label, _WESAD_HEART[0]) for label in state])
    beats = _beats(rng.normal(68, 5) + heart[:, 0], 0.05 * heart[:, 1], rng)
    ecg = _ecg(beats, len(state), wesad.ECG_HZ, rng)
    time_s = np.arange(round(len(state) * wesad.PPG_HZ)) / wesad.PPG_HZ
    ppg = np.zeros(len(time_s))
    for beat_s, interval_s in beats:
        height = heart[int(beat_s), 2] * interval_s
        for delay_s, width_s, share in ((0.25, 0.08, 1.0), (0.48, 0.1, 0.35)):
            first, last = np.searchsorted(time_s, (beat_s - 0.2, beat_s + 1.0))
            at = (time_s[first:last] - beat_s - delay_s) / width_s
            ppg[first:last] += 60 * height * share * np.exp(-(at**2) / 2)
    ppg += 3 * rng.standard_normal(len(ppg)) + 10 * slow_wander(rng, len(ppg), wesad.PPG_HZ)
    return ecg, ppg + 80 * bursts(rng, len(ppg), wesad.PPG_HZ, 1, 0.4)


def _sleep_eeg(stages: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """(6, samples) in uV."""
    rate, samples = isruc.SAMPLING_RATE_HZ, round(isruc.SAMPLING_RATE_HZ * isruc.EPOCH_S)
    epochs = []
    for stage in stages:
        (low, high), rhythm_uv, background_uv, _ = _SLEEP[stage]
        seen = _OCCIPITAL if stage == 0 else np.linspace(1, 0.8, 6)
        rhythm = band_noise(rng, (samples,), low, high, rate) * np.exp(rng.normal(0, 0.2))
        epoch = background_uv * pink_noise(rng, (6, samples), rate)
        epochs.append(epoch + rhythm_uv * seen[:, None] * rhythm)
    return np.concatenate(epochs, axis=1)


def _gait(
    name: str, step_hz: float, tremor_hz: float, minutes: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(58, samples) of all sensors, and labels (samples,)."""
    rate, samples = fog.SAMPLING_RATE_HZ, int(60 * minutes * fog.SAMPLING_RATE_HZ)
    label = np.zeros(samples, np.int64)
    start, frozen = 0, False
    while start < samples:
        stop = start + int(rng.uniform(7, 13) * rate)
        label[start:stop] = frozen
        start, frozen = stop, not frozen
    time_s = np.arange(samples) / rate
    step = np.maximum(0, np.sin(2 * np.pi * step_hz * time_s)) ** 2
    other_step = np.maximum(0, -np.sin(2 * np.pi * step_hz * time_s)) ** 2
    tremor = np.maximum(0, np.sin(2 * np.pi * tremor_hz * time_s)) ** 2
    table = np.zeros((58, samples))
    eeg = 12 * pink_noise(rng, (25, samples), rate)
    eeg += 9 * band_noise(rng, (samples,), 9, 11, rate) * (1 - 0.6 * label)
    eeg += 9 * band_noise(rng, (samples,), 4, 7, rate) * (0.5 + label)
    table[:25] = eeg
    drives = (step, other_step, np.maximum(step, other_step))
    for column, drive in zip(fog.EMG_COLUMNS[name], drives, strict=True):
        muscle = 400 * np.where(label, 0.7 * tremor, drive) + 40
        table[column - 2] = muscle * band_noise(rng, (samples,), 20, 200, rate)
    return table, label


def _time_of_day(sample: int) -> str:
    """As in the published files: from 09:30:26 on, whole seconds without fraction."""
    seconds, thousandths = divmod(2 * sample + 1000 * (9 * 3600 + 30 * 60 + 26), 1000)
    stamp = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{stamp}.{thousandths:03}" if thousandths else stamp
