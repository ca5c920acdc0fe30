"""Worker that probes and compares as the reference does: scikit-learn, Gram matrices, one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from launch.benchmarks import scan_inputs, timing
from launch.benchmarks.worker import serve

_CLASSES, _FOLDS = 3, 5


class _Reference:
    def __init__(self) -> None:
        self._call: Callable[[], object] | None = None

    def probes(self, layers: int, windows: int, width: int, spectrum: str) -> dict[str, Any]:
        """Five folds of one layer, to be scaled by the number of layers."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import f1_score
        from sklearn.model_selection import StratifiedKFold
        from threadpoolctl import threadpool_limits

        x = scan_inputs.features(layers, windows, width, spectrum)
        y = scan_inputs.labels(windows, _CLASSES)
        folds = list(StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(x[0], y))

        def call() -> None:
            # Its own threads wait for each other at this size: one is faster than two.
            with threadpool_limits(1):
                for train, test in folds:
                    model = LogisticRegression(max_iter=1000, random_state=0)
                    model.fit(x[0][train], y[train])
                    f1_score(y[test], model.predict(x[0][test]), average="macro")

        return self._prepared(call, layers)

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
        self._call = call
        return {"first_s": timing.timed(call), "times": times}

    def call(self) -> timing.Seconds:
        return timing.timed(self._call)

    def peak(self) -> int:
        """Peak memory of the process since it prepared, bytes."""
        return timing.peak_memory_bytes()


if __name__ == "__main__":
    reference = _Reference()
    serve({name: getattr(reference, name) for name in ("probes", "cka", "call", "peak")})
