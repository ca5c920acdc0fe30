"""A transfer between small encoders, as a script that may run in several processes.

    python -m tests.launch.many_hosts --out=DIR --epochs=N [--die_after=STEPS]

--die_after kills process 1 by SIGKILL, --stop_after sends it SIGTERM, --fail_after raises KeyError in
it, at that step of the bridge.
"""

import os
import pathlib
import signal
from collections.abc import Callable

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
_FAIL = flags.DEFINE_integer("fail_after", None, "Step at which process 1 has a KeyError.")
_CACHE = flags.DEFINE_string("cache", None, "Where targets are kept.")


def main() -> None:
    if jax.process_index() == 1:
        _at(_DIE.value, lambda: os.kill(os.getpid(), signal.SIGKILL))
        _at(_STOP.value, lambda: os.kill(os.getpid(), signal.SIGTERM))
        _at(_FAIL.value, lambda: {}["a fault"])
    old, new = tiny.encoders()
    settings = TransferSettings(
        "eeg", "ecg",
        head=HeadSettings(epochs=4, learning_rate=1e-2, batch_size=8),
        bridge=BridgeSettings(
            rank=4, num_prototypes=6, start="ridge", epochs=_EPOCHS.value, batch_size=8,
            learning_rate=1e-2,
        ),
        # Of several processes each writes its share of the targets and reads the others'.
        cache=CacheSettings(_CACHE.value or ("disk" if jax.process_count() > 1 else "device")),
        checkpoint_every=2,
    )
    result = transfer(tiny.windows(), old, new, settings, out=pathlib.Path(_OUT.value))
    for row in result.metrics:
        if row["split"] == "test":
            print(row["method"], row["balanced_accuracy"])


def _at(step: int | None, happens: Callable[[], None]) -> None:
    save = fitting._Run._save_if_due

    def saved(fit) -> None:
        save(fit)
        if step is not None and fit.what == "training the bridge" and fit.step >= step:
            happens()

    fitting._Run._save_if_due = saved


if __name__ == "__main__":
    run(main, together=True)
