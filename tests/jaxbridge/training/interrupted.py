"""A small training run in a process of its own, for tests that kill it.

    python -m tests.jaxbridge.training.interrupted FOLDER OUT SOURCE [CALLS [SIGNAL]]
"""

import os
import pathlib
import signal
import sys
import threading

import numpy as np
import optax
from flax import nnx

from jaxbridge.training import engine
from jaxbridge.training.checkpoints import TrainingCheckpoints
from jaxbridge.training.fitting import fit
from jaxbridge.training.metric_log import MetricLog
from jaxbridge.training.sources import Streamed

EPOCHS, WINDOWS, BATCH = 20, 50, 4


def main(
    folder: str, out: str, source: str, calls: str = "", number: str = str(int(signal.SIGKILL))
) -> None:
    """Trains; sends itself a signal after so many compiled calls, a fraction of one included."""
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def loss(module, batch):
        return ((module(batch["x"]) - batch["y"]) ** 2).mean(axis=1), 1 + 0 * batch["y"][:, 0]

    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((WINDOWS, 3)).astype(np.float32),
            "y": rng.standard_normal((WINDOWS, 2)).astype(np.float32)}
    trainer = engine.Trainer(
        module, loss, engine.labels(module, lambda path: True), optax.adam(1e-2)
    )
    if calls:
        _signal_after(trainer, float(calls), int(number))
    train = data
    if source == "streamed":
        train = Streamed(
            lambda i: {k: v[i] for k, v in data.items()}, WINDOWS, 20, chunk_bytes=160
        )
    checkpoints = TrainingCheckpoints(folder, {"what": "test"}, every=5)
    with MetricLog(folder, "test") as log:
        curve = fit(
            trainer, train, data, epochs=EPOCHS, batch_size=BATCH, seed=3, keep_best=True,
            what="training", checkpoints=checkpoints, on_epoch=log.add,
        )
    checkpoints.close()
    np.savez(pathlib.Path(out), curve=np.array(curve), **trainer.host_state())


def _signal_after(trainer: engine.Trainer, calls: float, number: int) -> None:
    take, left = trainer._take, [int(calls)]

    def counted(*args):
        found = take(*args)
        left[0] -= 1
        if left[0] == 0:
            # The fraction lets Orbax write for up to a fifth of a second.
            timer = threading.Timer(0.2 * (calls % 1), os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        return found

    trainer._take = counted


if __name__ == "__main__":
    main(*sys.argv[1:])
