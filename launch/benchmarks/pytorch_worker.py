"""Worker that runs the PyTorch originals; started by `launch.benchmarks.worker`."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from launch.benchmarks import timing
from launch.benchmarks.pytorch_encoders import Original, build
from launch.benchmarks.signals import signal
from launch.benchmarks.worker import serve


class _Originals:
    def __init__(self) -> None:
        self._name, self._dtype, self._autocast = "", "float32", False
        self._original: Original | None = None
        self._device: Any = None
        self._call: Callable[[], object] | None = None

    def load(self, name: str, dtype: str, reference: str) -> dict[str, Any]:
        self._name, self._dtype, self._autocast = name, dtype, False
        built = []
        seconds = timing.timed(lambda: built.append(build(name, reference)))
        import torch

        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._original = built[0]
        self._original.module.to(self._device)
        cuda = self._device.type == "cuda"
        return {
            "create_s": seconds,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "version": f"torch {torch.__version__}",
            "layers": len(self._original.layers),
        }

    def prepare(
        self, what: str, batch: int, shape: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Runs `what` once: "embed", or a pass with a hook on one layer or on all of them.

        bfloat16 means weights in bfloat16, or autocast where the original does not run with them.
        """
        import torch

        layers = self._original.layers
        hooked = {"embed": [], "hook": [layers[len(layers) // 2]], "hooks": layers}[what]
        timing.reset_peak_memory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        x = torch.from_numpy(signal(self._name, batch, shape)).to(self._device)

        def call() -> None:
            autocast = self._autocast
            half = self._dtype == "bfloat16" and not autocast
            with (
                torch.inference_mode(), _token_means(hooked),
                torch.autocast(self._device.type, torch.bfloat16, enabled=autocast),
            ):
                self._original.forward(x.bfloat16() if half else x)
            if self._device.type == "cuda":
                torch.cuda.synchronize()

        self._call = call
        if self._dtype == "bfloat16" and not self._autocast:
            self._original.module.bfloat16()
            try:
                call()
            except (RuntimeError, TypeError):
                self._original.module.float()
                self._autocast = True
        return {"first_s": timing.timed(call), "note": "autocast" if self._autocast else ""}

    def call(self) -> timing.Seconds:
        return timing.timed(self._call)

    def peak(self) -> int:
        """Peak memory since `prepare`, bytes: of the accelerator, or of the process on a CPU."""
        import torch

        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return timing.peak_memory_bytes()


@contextlib.contextmanager
def _token_means(layers: Any) -> Any:
    """Hooks that keep the mean over tokens of the layers' inputs and outputs."""
    kept = []

    def hook(module: Any, inputs: tuple, output: Any) -> None:
        del module
        for x in (inputs[0], output[0] if isinstance(output, tuple) else output):
            kept.append(x.float().mean(dim=tuple(range(1, x.dim() - 1)) or None))

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


if __name__ == "__main__":
    originals = _Originals()
    serve({name: getattr(originals, name) for name in ("load", "prepare", "call", "peak")})
