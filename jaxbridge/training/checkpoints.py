"""The state of a training run on disk, so that a killed run goes on where it was.

Orbax writes asynchronously and atomically: a checkpoint is whole or absent. Beside the arrays goes
a record with their SHA-256, so that a file damaged later is noticed, and the checkpoint before it
is taken.
"""

import contextlib
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxbridge import hosts
from jaxbridge.settings_difference import differences
from jaxbridge.training.preemption import Preempted
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


class TrainingCheckpoints:
    """Checkpoints of one training run in a folder.

    Args:
        folder: made if absent; removed by `discard` when the run is done.
        configuration: everything that decides the result, JSON-able. A folder of another one is
            refused, so that nothing computed is lost.
        every: steps between checkpoints.
        keep: how many of the latest are kept; the one of lowest validation loss is kept too.

    Raises:
        InputError: the folder holds a run of another configuration, or cannot be written.
    """

    def __init__(
        self, folder: str | pathlib.Path, configuration: Mapping[str, Any], *, every: int = 200,
        keep: int = 2,
    ):
        if every < 1 or keep < 1:
            raise InputError(f"checkpoints: every={every} and keep={keep} must be at least 1.")
        self.folder, self.every = pathlib.Path(folder).absolute(), every
        configuration = json.loads(json.dumps(configuration))
        with self._writable():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._compare(configuration)
            self._clean()
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy([
                        policies.LatestN(keep),
                        policies.BestN(
                            get_metric_fn=lambda m: m["val_loss"], reverse=True, n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]),
                ),
            )

    def _clean(self) -> None:
        """Removes what a kill left unfinished. Orbax would do so in a thread that outlives `close`."""
        if jax.process_index() == 0:
            for left in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)

    def _compare(self, configuration: Mapping[str, Any]) -> None:
        path = self.folder / "configuration.json"
        if path.exists():
            try:
                before = json.loads(path.read_text())
            except ValueError:
                raise InputError(f"{path} is damaged; remove the folder to start anew.") from None
            if changed := differences(before, configuration):
                raise InputError(
                    f"{self.folder} holds an unfinished run with other settings; remove it, or go "
                    "on with its settings:\n" + "\n".join(changed)
                )
        elif jax.process_index() == 0:
            aside = path.with_suffix(".partial")
            aside.write_text(json.dumps(configuration, indent=1) + "\n")
            aside.replace(path)

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], *,
        val_loss: float | None = None,
    ) -> None:
        """Starts writing the state after `step`; `wait` ends it.

        Args:
            step: steps taken.
            arrays: whatever must come back to the bit.
            record: JSON-able, comes back with the arrays.
            val_loss: validation loss of this state, where it is known.

        Raises:
            InputError: this or the previous checkpoint could not be written.
        """
        if step in self._manager.all_steps():
            return
        record = {"record": dict(record), "sha256": _digests(arrays)}
        with self._writable():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    # Orbax pads scalars oddly; arrays of one element it keeps as they are.
                    arrays=ocp.args.StandardSave({k: np.array(v) for k, v in arrays.items()}),
                    record=ocp.args.JsonSave(record),
                ),
                metrics=None if val_loss is None else {"val_loss": val_loss},
            )

    def latest(self) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
        """Returns (step, arrays, record) of the latest whole checkpoint, None where none is.

        A damaged one is named in the log and removed.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, record = self._read(step)
            except Exception as error:  # whatever Orbax and TensorStore make of damaged files
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                _log.warning(
                    "%s: the checkpoint of step %d is damaged (%s); going back to the one before",
                    self.folder, step, reason[:200],
                )
                if jax.process_index() == 0:
                    shutil.rmtree(self.folder / str(step), ignore_errors=True)
                self._manager.reload()
                continue
            return step, arrays, record
        return None

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        # The record first: it says what arrays there must be.
        record = self._manager.restore(
            step, args=ocp.args.Composite(record=ocp.args.JsonRestore())
        )["record"]
        shapes = {
            name: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
            for name, (shape, dtype, _) in record["sha256"].items()
        }
        found = self._manager.restore(
            step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(shapes))
        )["arrays"]
        arrays = {name: np.asarray(value) for name, value in found.items()}
        if wrong := [k for k, v in _digests(arrays).items() if v != record["sha256"][k]]:
            raise ValueError(f"{wrong[0]} differs from what was written")
        return arrays, record["record"]

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
            InputError: it could not be written.
        """
        with self._writable():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """As `wait`, and ends Orbax's threads."""
        self.wait()
        self._manager.close()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            # TensorStore tells of a full disk by a ValueError.
            if isinstance(error, InputError):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"the checkpoint in {self.folder} cannot be written ({reason[:300]}). Make space, or "
                "give a folder that you may write to; the same command then goes on from the last "
                "whole checkpoint."
            ) from error


@contextlib.contextmanager
def until_done(
    folder: pathlib.Path, configuration: Mapping[str, Any], *, every: int
) -> Iterator[TrainingCheckpoints]:
    """Checkpoints in `folder`/training, which outlives a kill; removed when the training is done.

    Arguments and errors as for `TrainingCheckpoints`.
    """
    kept = TrainingCheckpoints(folder / "training", configuration, every=every)
    try:
        yield kept
    except BaseException as error:
        # One of several processes may be alone with its error, or the others lost: closing waits for
        # them.
        if not hosts.several() or isinstance(error, Preempted):
            kept.close()
        raise
    kept.close()
    if jax.process_index() == 0:
        shutil.rmtree(kept.folder, ignore_errors=True)


def _digests(arrays: Mapping[str, np.ndarray]) -> dict[str, list]:
    return {
        name: [list(value.shape), str(value.dtype),
               hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
        for name, value in ((k, np.asarray(v)) for k, v in arrays.items())
    }
