"""A small training run in a process of its own, for tests that kill it.

    python -m tests.jaxbridge.interrupted FOLDER OUT STREAMED [STEPS_UNTIL_KILL]
"""

import os
import pathlib
import signal
import sys

import numpy as np
import optax
from flax import nnx

from jaxbridge import training
from jaxbridge.fitting import fit
from jaxbridge.preemption import Preempted
from jaxbridge.sources import Streamed
from jaxbridge.training_checkpoints import TrainingCheckpoints

EPOCHS, WINDOWS, BATCH = 6, 50, 4


def main(folder: str, out: str, streamed: str, kill_after: str = "") -> None:
    """Trains, and is killed after so many calls of the optimizer's loop, wherever that is."""
    module = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def loss(module, batch):
        return ((module(batch["x"]) - batch["y"]) ** 2).mean(axis=1), 1 + 0 * batch["y"][:, 0]

    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((WINDOWS, 3)).astype(np.float32),
            "y": rng.standard_normal((WINDOWS, 2)).astype(np.float32)}
    trainer = training.Trainer(
        module, loss, training.labels(module, lambda path: True), optax.adam(1e-2)
    )
    if kill_after:
        _kill_after(trainer, float(kill_after))
    source = data
    if streamed == "streamed":
        source = Streamed(
            lambda i: {k: v[i] for k, v in data.items()}, WINDOWS, 20, chunk_bytes=160
        )
    checkpoints = TrainingCheckpoints(folder, {"what": "test"}, every=5)
    try:
        curve = fit(
            trainer, source, data, epochs=EPOCHS, batch_size=BATCH, seed=3, keep_best=True,
            what="training", checkpoints=checkpoints,
        )
    except Preempted as error:
        print(error.message, file=sys.stderr)
        raise
    checkpoints.close()
    np.savez(pathlib.Path(out), curve=np.array(curve), **trainer.host_state())


def _kill_after(trainer: training.Trainer, calls: float) -> None:
    """SIGKILL after whole calls; a fraction lets Orbax write for so many hundredths of a second."""
    take, left = trainer._take, [int(calls)]

    def counted(*args):
        found = take(*args)
        left[0] -= 1
        if left[0] <= 0:
            signal.setitimer(signal.ITIMER_REAL, max(calls % 1, 1e-4) * 0.3)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return found

    trainer._take = counted


if __name__ == "__main__":
    main(*sys.argv[1:])
