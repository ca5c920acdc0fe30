"""Worker that probes and compares as the reference does: scikit-learn, Gram matrices, one by one."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from launch.benchmarks import scan_inputs, scan_probes, timing
from launch.benchmarks.worker import serve

_FOLDS = 5


class _Reference:
    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []

    def probes(
        self, layers: int, windows: int, width: int, spectrum: str, tolerances: list[float]
    ) -> dict[str, Any]:
        """One fold of every other layer, at the first tolerance and at the first that arrives."""
        x, y = scan_inputs.probe_inputs(layers, windows, width, spectrum)
        fits = scan_probes.Fits(x, y, _FOLDS)
        self._calls, found = [], []
        for tolerance in tolerances:
            models = fits.solve(tolerance)
            gap = max(fits.gaps(models))
            arrived = gap <= scan_probes.ARRIVED
            if not found or arrived or tolerance == tolerances[-1]:
                found.append({
                    "tolerance": tolerance, "gap": gap,
                    "steps": [int(model.n_iter_[0]) for model in models],
                })
                self._calls.append(functools.partial(fits.score, tolerance))
            if arrived:
                break
        return {
            "times": x.shape[0] * _FOLDS / len(fits.chosen), "threads": fits.threads,
            "chosen": fits.chosen, "minima": fits.minima, "found": found,
        }

    def cka(self, layers: int, windows: int, width: int) -> dict[str, Any]:
        """One pair of layers by Gram matrices, to be scaled by the number of pairs."""
        new, old = (scan_inputs.features(1, windows, width, "iid", seed=s)[0] for s in (0, 1))

        def centred(x: np.ndarray) -> np.ndarray:
            gram = x @ x.T
            means = gram.mean(axis=0)
            return gram - means[None] - means[:, None] + means.mean()

        def call() -> None:
            k, l = centred(new), centred(old)  # noqa: E741
            (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())

        return self._prepared(call, layers**2)

    def _prepared(self, call: Callable[[], object], times: int) -> dict[str, Any]:
        timing.reset_peak_memory()
        self._calls = [call]
        return {"first_s": timing.timed(call), "times": times}

    def call(self, which: int = 0) -> timing.Seconds:
        return timing.timed(self._calls[which])

    def peak(self) -> int:
        """Peak memory of the process since it prepared, bytes."""
        return timing.peak_memory_bytes()


if __name__ == "__main__":
    reference = _Reference()
    serve({name: getattr(reference, name) for name in ("probes", "cka", "call", "peak")})
