"""Worker that captures, probes and compares with this package."""

import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from launch.benchmarks import scan_inputs, timing
from launch.benchmarks.worker import serve

_FOLDS = 5


class _Scanner:
    def __init__(self) -> None:
        self._call: Callable[[], object] | None = None

    def probes(self, layers: int, windows: int, width: int, spectrum: str) -> dict[str, Any]:
        """Logistic probes of all layers and folds."""
        from jaxbridge.selection.folds import stratified_folds
        from jaxbridge.selection.probe import probe_layers

        x, y = scan_inputs.probe_inputs(layers, windows, width, spectrum)
        test = stratified_folds(y, _FOLDS)
        found = probe_layers(x, y, test, num_classes=y.max() + 1)
        prepared = self._prepared(lambda: probe_layers(x, y, test, num_classes=y.max() + 1))
        return {
            **prepared, "objective": found.objective.tolist(),
            "steps": found.iterations.tolist(),
        }

    def encoder_features(self, path: str) -> None:
        """Writes the features of an encoder for `probes`."""
        scan_inputs.write_encoder_features(pathlib.Path(path))

    def cka(self, layers: int, windows: int, width: int) -> dict[str, Any]:
        """Linear CKA of all pairs of layers."""
        from jaxbridge.selection.cka import linear_cka

        new, old = (scan_inputs.features(layers, windows, width, "iid", seed=s) for s in (0, 1))
        return self._prepared(lambda: linear_cka(new, old))

    def streamed_cka(self, layers: int, windows: int, width: int, batch: int) -> dict[str, Any]:
        """Linear CKA of windows made batch by batch, as from a stream."""
        from jaxbridge.selection.cka_streaming import CkaSums

        def made(i: int) -> tuple[np.ndarray, np.ndarray]:
            size = min(batch, windows - i)
            return tuple(
                scan_inputs.features(layers, size, width, "iid", seed=2 * i + side)
                for side in (0, 1)
            )

        def call() -> None:
            sums = CkaSums.start(*made(0))
            for i in range(0, windows, batch):
                sums = sums.add(*made(i))
            sums.cka()

        return self._prepared(call)

    def capture(self, model: str, windows: int, shape: list[int], batch: int) -> dict[str, Any]:
        """All layers of an encoder over windows in memory, into a feature store on disk."""
        from flax import nnx

        import model_ports as mp
        from jaxbridge.data.memory import ArrayWindows
        from jaxbridge.features.store import ensure_features

        x = np.random.default_rng(0).standard_normal((windows, *shape), np.float32)
        given = ArrayWindows(
            {"signal": x}, np.zeros(windows, int), np.full(windows, "pair"), ("any",)
        )
        encoder = mp.create(model, rngs=nnx.Rngs(0))
        root = pathlib.Path(tempfile.mkdtemp())

        def call() -> None:
            ensure_features(root, encoder, given, "signal", batch_size=batch)
            shutil.rmtree(root)

        return {**self._prepared(call), "layers": encoder.num_layers}

    def _prepared(self, call: Callable[[], object]) -> dict[str, Any]:
        timing.reset_peak_memory()
        before = timing.memory_bytes()
        self._call = call
        return {"first_s": timing.timed(call), "before": before}

    def call(self) -> timing.Seconds:
        return timing.timed(self._call)

    def peak(self) -> int:
        """Peak memory of the process since it prepared, bytes."""
        return timing.peak_memory_bytes()


if __name__ == "__main__":
    scanner = _Scanner()
    names = (
        "probes", "encoder_features", "cka", "streamed_cka", "capture", "call", "peak",
    )
    serve({name: getattr(scanner, name) for name in names})
