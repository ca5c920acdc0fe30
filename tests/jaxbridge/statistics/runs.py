"""Made-up predictions of people whose accuracy differs."""

import numpy as np

from jaxbridge.statistics.predictions import Predictions


def run(skill: float, *, seed: int = 0, fold: int = 0, people: int = 12, each: int = 20,
        noise: float = 0.1, draw: int = 0, first: int = 0) -> Predictions:
    """Returns two-class predictions, right for a share `skill` + noise of each person's windows."""
    rng = np.random.default_rng([draw, seed, fold])
    labels = np.tile([0, 1], people * each // 2)
    share = np.repeat(np.clip(skill + noise * rng.standard_normal(people), 0, 1), each)
    right = rng.random(len(labels)) < share
    sign = np.where(right, 2 * labels - 1, 1 - 2 * labels) * rng.uniform(0.2, 2, len(labels))
    subjects = np.repeat([f"P{first + i:02d}" for i in range(people)], each)
    return Predictions(np.stack([-sign, sign], axis=1), labels, subjects, seed, fold)
