"""Simulated rhythms with independent factors, sets labelled with one of them each, and one unlike them.

Of "state" (rest, work, effort) each of three factors tells something and none tells all: with growing
effort beats come faster, are modulated less and are noisier, each in 80 of 100 windows.
"""

import numpy as np

from jaxbridge.data.memory import ArrayWindows

SAMPLES = 256
# classes of each factor: beats in a window, sine or sharp beats, depth of a slow modulation, noise,
# short bursts
FACTORS = {"rate": 3, "shape": 2, "modulation": 3, "noise": 3, "bursts": 3}
STATE = "state"
_STATES = 3


def labelled(name: str, windows: int, seed: int) -> ArrayWindows:
    """Returns (windows, 1, SAMPLES) of "signal" labelled with a factor, or with the state.

    Factors that are no label are drawn independently of it. Half of the windows are in train, a quarter
    each in val and test.
    """
    rng = np.random.default_rng([seed, [*FACTORS, STATE].index(name)])
    classes = {factor: _dealt(rng, windows, count) for factor, count in FACTORS.items()}
    if name == STATE:
        classes[STATE] = _dealt(rng, windows, _STATES)
        for factor, told in (("rate", classes[STATE]), ("modulation", 2 - classes[STATE]),
                             ("noise", classes[STATE])):
            classes[factor] = np.where(rng.random(windows) < 0.7, told, classes[factor])
    signals = np.array([
        _signal(rng, **{factor: classes[factor][i] for factor in FACTORS}) for i in range(windows)
    ])
    splits = rng.permutation(np.resize(["train", "train", "val", "test"], windows))
    names = [f"{name} {number}" for number in range({**FACTORS, STATE: _STATES}[name])]
    return ArrayWindows({"signal": signals[:, None]}, classes[name], splits, names)


def _dealt(rng: np.random.Generator, windows: int, classes: int) -> np.ndarray:
    return rng.permutation(np.arange(windows) % classes)


def _signal(
    rng: np.random.Generator, rate: int, shape: int, modulation: int, noise: int, bursts: int
) -> np.ndarray:
    at = np.arange(SAMPLES) / SAMPLES
    phase = 2 * np.pi * ((6, 9, 13)[rate] * rng.uniform(0.9, 1.1) * at + rng.uniform())
    wave = np.cos(phase) if shape == 0 else 3 * np.exp(4 * (np.cos(phase) - 1)) - 1
    wave *= 1 + (0, 0.4, 0.8)[modulation] * np.sin(2 * np.pi * (2 * at + rng.uniform()))
    wave += (0.05, 0.2, 0.5)[noise] * rng.uniform(0.8, 1.2) * rng.standard_normal(SAMPLES)
    for start in 32 * rng.choice(8, (0, 1, 3)[bursts], replace=False):
        wave[start : start + 16] += 1.5 * rng.standard_normal(16)
    return wave * np.exp(rng.normal(0, 0.2))
