"""Worker that takes training steps as the PyTorch reference does, through reference_bench.py.

That script lies beside the project (shared/reference_bench.py); it imports the reference's own
modules from a checkout of github.com/chenqi-li/BioX-Bridge.
"""

import contextlib
import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from launch.benchmarks import timing
from launch.benchmarks.pytorch_encoders import stand_ins
from launch.benchmarks.worker import serve
from model_ports.errors import InputError


class _Reference:
    def __init__(self) -> None:
        self._step: Callable[[bool], object] = lambda keep: None
        self._cuda = False

    def load(self, script: str, reference: str, direction: str, batch: int) -> dict[str, Any]:
        """Builds both encoders and the bridge with random weights, and takes one step.

        Where PyTorch has a GPU everything is there.
        """
        try:
            import torch
        except ImportError as error:
            raise InputError("--reference needs PyTorch; leave it out for JAX alone.") from error
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        bench = _module(script)
        specs = {spec["name"]: spec for spec in bench.DIRECTIONS.values()}
        if not any((pathlib.Path(reference) / d / "train_bridge.py").exists()
                   for d in ("", "BioX-Bridge")):
            raise InputError(f"--reference={reference} has no folder BioX-Bridge.")
        with contextlib.suppress(ImportError):
            # Before the stand-ins, which it would take for the packages themselves.
            importlib.import_module("transformers.models.hubert.modeling_hubert")
        bench.log = lambda *words: None
        spec = {**specs[direction], "batch": batch}
        self._cuda = torch.cuda.is_available()
        if self._cuda:
            torch.set_default_device("cuda")
        with stand_ins():
            upstream = bench.Upstream(bench.upstream_root(reference))
            models = bench.make(upstream, spec)
        if spec["old"] == "normwear":
            _on_device(models.old.module, models.x_old.device)
        step, _ = bench.reference_step(upstream, models, spec)
        self._step = step
        loaded = timing.memory_bytes()
        timing.reset_peak_memory()
        return {
            "first": self.call(), "loaded": loaded, "version": f"torch {torch.__version__}",
            "parameters": sum(p.numel() for p in models.bridge.parameters()),
        }

    def call(self) -> timing.Seconds:
        return timing.timed(lambda: self._step(False))

    def peak(self) -> int:
        """Peak memory, bytes: of the GPU, or of the process since the encoders were loaded."""
        if self._cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        return timing.peak_memory_bytes()


def _on_device(normwear: Any, device: Any) -> None:
    """Makes NormWear compute on a device; the script asks for the CPU by name."""
    embed = normwear.get_embedding
    normwear.get_embedding = lambda x, sampling_rate, **_: embed(
        x, sampling_rate=sampling_rate, device=device
    )


def _module(script: str) -> Any:
    spec = importlib.util.spec_from_file_location("reference_bench", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_bench"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    reference = _Reference()
    serve({name: getattr(reference, name) for name in ("load", "call", "peak")})
