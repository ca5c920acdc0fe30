"""Worker that runs our encoders; started by `launch.benchmarks.worker`."""

from collections.abc import Callable
from typing import Any

from launch.benchmarks import timing
from launch.benchmarks.signals import signal
from launch.benchmarks.worker import serve


class _Encoders:
    def __init__(self) -> None:
        self._name = ""
        self._encoder: Any = None
        self._calls: dict[str, Callable[[], object]] = {}
        self._prepared: tuple[tuple[str, int], dict[str, Any]] = (("", 0), {})

    def load(self, name: str, dtype: str) -> dict[str, Any]:
        import jax
        from flax import nnx

        import model_ports as mp

        options = {"scalogram": "torch"} if name == "normwear" else {}
        self._name = name

        def create() -> None:
            self._encoder = mp.create(name, rngs=nnx.Rngs(0), dtype=dtype, **options)
            jax.block_until_ready(nnx.state(self._encoder))

        seconds = timing.timed(create)
        return {
            "create_s": seconds,
            "device": str(jax.devices()[0].device_kind),
            "version": f"jax {jax.__version__}",
            "layers": self._encoder.num_layers,
        }

    def prepare(self, what: str, batch: int) -> dict[str, Any]:
        """Compiles `what` ("embed" or "activations") and runs it once, unless just done."""
        import jax
        from flax import nnx

        if self._prepared[0] == (what, batch):
            return self._prepared[1]
        graph, state = nnx.split(self._encoder)
        method = {"embed": "__call__", "activations": "activations"}[what]
        self._calls.clear()
        timing.reset_peak_memory()
        x = jax.numpy.asarray(signal(self._name, batch))
        function = jax.jit(lambda state, x: getattr(nnx.merge(graph, state), method)(x))
        compiled = []
        compile_s = timing.timed(lambda: compiled.append(function.lower(state, x).compile()))
        self._calls[what] = lambda: jax.block_until_ready(compiled[0](state, x))
        answer = {"compile_s": compile_s, "first_s": timing.timed(self._calls[what])}
        self._prepared = ((what, batch), answer)
        return answer

    def call(self, what: str) -> timing.Seconds:
        return timing.timed(self._calls[what])

    def peak(self) -> int:
        """Peak memory since `prepare`, bytes: of the accelerator, or of the process on a CPU."""
        return timing.jax_peak_memory_bytes()


if __name__ == "__main__":
    encoders = _Encoders()
    serve({name: getattr(encoders, name) for name in ("load", "prepare", "call", "peak")})
