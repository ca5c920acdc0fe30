"""A transfer between small encoders, as a script that may run in several processes.

    python -m tests.launch.many_hosts --out=DIR --epochs=N [--die_after=STEPS]

--die_after kills process 1 by SIGKILL, --stop_after sends it SIGTERM, at that step of the bridge.
"""

import os
import pathlib
import signal

import jax
from absl import flags

from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, transfer
from jaxbridge.training import fitting
from jaxbridge.training.target_cache import CacheSettings
from launch.script import run
from tests.jaxbridge import tiny

_OUT = flags.DEFINE_string("out", None, "Run folder.", required=True)
_EPOCHS = flags.DEFINE_integer("epochs", 8, "Epochs of the bridge.")
_DIE = flags.DEFINE_integer("die_after", None, "Step at which process 1 is killed.")
_STOP = flags.DEFINE_integer("stop_after", None, "Step at which process 1 gets SIGTERM.")


def main() -> None:
    for number, step in ((signal.SIGKILL, _DIE.value), (signal.SIGTERM, _STOP.value)):
        if step is not None and jax.process_index() == 1:
            _at(step, number)
    old, new = tiny.encoders()
    settings = TransferSettings(
        "eeg", "ecg",
        head=HeadSettings(epochs=4, learning_rate=1e-2, batch_size=8),
        bridge=BridgeSettings(
            rank=4, num_prototypes=6, start="ridge", epochs=_EPOCHS.value, batch_size=8,
            learning_rate=1e-2,
        ),
        # Of several processes each writes its share of the targets and reads the others'.
        cache=CacheSettings("disk" if jax.process_count() > 1 else "device"),
        checkpoint_every=2,
    )
    result = transfer(tiny.windows(), old, new, settings, out=pathlib.Path(_OUT.value))
    for row in result.metrics:
        if row["split"] == "test":
            print(row["method"], row["balanced_accuracy"])


def _at(step: int, number: int) -> None:
    save = fitting._Run._save_if_due

    def saved(fit) -> None:
        save(fit)
        if fit.what == "training the bridge" and fit.step >= step:
            os.kill(os.getpid(), number)

    fitting._Run._save_if_due = saved


if __name__ == "__main__":
    run(main, together=True)
