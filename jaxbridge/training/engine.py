"""One pmapped step for everything that is trained: a head, an encoder, a bridge.

A label tree decides which leaves of a module are differentiated and updated; all others get no
gradient, no optimizer state and no change, but for statistics of batch norms labelled to follow the
batches, as PyTorch's do in training mode. Dropout, where asked for, depends on seed, step and row of
the batch alone. A call runs a whole epoch, or a chunk of one, as one compiled scan over batches. Under
`jax.distributed` every process calls the same methods with the same arguments and works on its own
devices' share of each batch.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model_ports.batch_groups import whole_batches
from model_ports.batch_norm import batch_statistics
from model_ports.dropout import dropout
from model_ports.errors import InputError

# A loss maps (module, batch) to per-window losses and weights, (rows,) each; a step minimises
# sum(weights * losses) / sum(weights) over the whole batch on all devices. A batch also holds
# VALID, (rows,), 0 for rows that only fill it up.
Loss = Callable[[Any, Any], tuple[jax.Array, jax.Array]]
Batch = Mapping[str, np.ndarray]
# Reads windows by index: (k,) -> arrays with a leading axis of k.
Rows = Callable[[np.ndarray], Batch]
AXIS = "batch"
VALID = "valid"


class Dropout(NamedTuple):
    """What encoders drop while they are trained.

    Attributes:
        rate: see `model_ports.dropout.dropout`.
        seed: fixes what is dropped in which step and row.
    """

    rate: float
    seed: int


class NonFiniteError(InputError):
    """The loss or its gradient was not finite; the trainer holds the state before that step.

    Attributes:
        before: losses of the steps before.
        loss: its value there.
    """

    def __init__(self, before: list[float], loss: float):
        super().__init__(f"the loss is {loss} in step {len(before) + 1} of a call")
        self.before, self.loss = before, loss

    @property
    def step(self) -> int:
        """Index within the call."""
        return len(self.before)


def labels(
    module: nnx.Module, trainable: Callable[[str], bool],
    statistics: Callable[[str], bool] = lambda path: False,
) -> dict[str, str]:
    """Returns "bridge" (trained), "statistics" or "frozen" for every leaf of the module, by path.

    Args:
        module: any NNX module.
        trainable: tells by path, such as "bridge.low_rank_a", whether a parameter moves. Only
            `nnx.Param` leaves can.
        statistics: tells by path whether a batch norm's statistics follow the batches. If any do,
            every batch norm normalises by the batch while it is trained; only `nnx.BatchStat`
            leaves can.
    """
    def label(path: str, leaf: nnx.Variable) -> str:
        if isinstance(leaf, nnx.BatchStat) and statistics(path):
            return "statistics"
        return "bridge" if isinstance(leaf, nnx.Param) and trainable(path) else "frozen"

    return {path: label(path, leaf) for path, leaf in _leaves(module).items()}


def reached(module: nnx.Module, loss: Loss, batch: Mapping[str, jax.ShapeDtypeStruct]) -> set[str]:
    """Returns the paths of the leaves that the loss depends on; nothing is run.

    Args:
        module: any NNX module.
        loss: see `Loss`.
        batch: shapes of one batch, `VALID` left out.
    """
    leaves = _leaves(module)
    structure = nnx.split(module)
    shapes = {p: jax.ShapeDtypeStruct(v[...].shape, v[...].dtype) for p, v in leaves.items()}
    rows = next(iter(batch.values())).shape[:1]
    batch = {**batch, VALID: jax.ShapeDtypeStruct(rows, jnp.float32)}
    trace = jax.make_jaxpr(
        lambda leaves, batch: loss(_merge(structure, leaves), batch), axis_env=[(AXIS, 1)]
    )
    jaxpr = trace(shapes, batch).jaxpr
    used = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    return {p for p, v in zip(sorted(leaves), jaxpr.invars, strict=False) if id(v) in used}


def _leaves(module: nnx.Module) -> dict[str, nnx.Variable]:
    return {".".join(map(str, p)): v for p, v in nnx.to_flat_state(nnx.state(module))}


def _merge(structure: Any, leaves: Mapping[str, jax.Array]) -> Any:
    graph, state = structure
    flat = [
        (path, leaf.replace(leaves[".".join(map(str, path))]))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))


class Trainer:
    """Trains the labelled leaves of a module on all devices.

    Args:
        module: the module; it is left as it is, `module()` returns a trained copy.
        loss: see `Loss`.
        leaf_labels: from `labels`.
        optimizer: applied to the trained leaves through `optax.masked`, so that whatever it
            computes over all leaves, such as a global norm, is over these.
        devices: some of this process's devices; None for all devices of all processes.
        drop: dropout in training steps; None for none.

    Attributes:
        params: trained leaves by path, replicated.
        statistics: statistics of batch norms that follow the batches, by path, replicated.
        draws: with dropout the number of steps taken, which the random draws follow from.
        opt_state: optimizer state, of the trained leaves only.

    Raises:
        InputError: nothing is labelled as trained.
    """

    def __init__(
        self, module: nnx.Module, loss: Loss, leaf_labels: Mapping[str, str],
        optimizer: optax.GradientTransformation, *, devices: list[jax.Device] | None = None,
        drop: Dropout | None = None,
    ):
        leaves = _leaves(module)
        trained = [path for path in leaves if leaf_labels[path] == "bridge"]
        followed = [path for path in leaves if leaf_labels[path] == "statistics"]
        if not trained:
            raise InputError("no parameter is labelled as trained; nothing would move.")
        self.devices = devices or jax.local_devices()
        self._num_devices = len(self.devices) if devices else jax.device_count()
        self._first_device = 0 if devices else jax.process_index() * len(self.devices)
        self._mesh = Mesh(np.array(self.devices), (AXIS,))
        self._structure = nnx.split(module)
        # pmap donates this state, so it must not share buffers with the caller's module.
        self.params = self.place({p: np.asarray(leaves[p][...]) for p in trained})
        self.statistics = self.place({p: np.asarray(leaves[p][...]) for p in followed})
        self._drop = drop
        self.draws = self.place({} if drop is None else {"step": np.uint32(0)})
        changed = {*trained, *followed}
        self.frozen = self.place({p: v[...] for p, v in leaves.items() if p not in changed})
        mask = {path: leaf_labels[path] == "bridge" for path in leaves}
        self._optimizer = optax.masked(optimizer, mask)
        self.opt_state = self.place(self._optimizer.init(self._with_masked_nodes(self.params)))
        pmap = functools.partial(jax.pmap, axis_name=AXIS, devices=devices, out_axes=None)
        # The nested first entry is needed: from a flat tuple of axes, jax 0.10 assigns them to
        # leaves one by one whenever there happen to be as many leaves as arguments.
        axes = ((None,) * 4, None, None, 0, 0)
        step, total = self._run_steps, self._total_loss
        self._epoch, self._chunk = (
            pmap(functools.partial(step, loss, rows), in_axes=axes, donate_argnums=0)
            for rows in (_rows_of, _given)
        )
        self._evaluate, self._evaluate_chunk = (
            pmap(functools.partial(total, loss, rows), in_axes=axes) for rows in (_rows_of, _given)
        )

    def train(self, data: Batch, order: np.ndarray, batch_size: int) -> np.ndarray:
        """Runs one step per `batch_size` entries of `order` in one compiled call.

        Args:
            data: arrays with a leading window axis; on the devices already if from `place`.
            order: (windows,) indices into `data`; the last batch may be smaller.
            batch_size: windows per step, over all devices.

        Returns:
            The loss of each step before its update, (steps,).

        Raises:
            NonFiniteError: a loss or gradient is not finite; no step from there on was taken.
        """
        rows, valid = self._batches(order, batch_size)
        return self._take(self._epoch, self.place(dict(data)), rows, valid)

    def lower(self, data: Batch, order: np.ndarray, batch_size: int) -> jax.stages.Lowered:
        """Returns the program that `train` runs on these arguments, not yet compiled."""
        rows, valid = self._batches(order, batch_size)
        return self._epoch.lower(self._state, self.frozen, self.place(dict(data)), rows, valid)

    def step_operations(self, data: Batch, batch_size: int) -> float:
        """Returns the operations of a step of `train` on each device; nothing is compiled or run."""
        with whole_batches():  # XLA counts the body of a loop once
            return _operations(self.lower(data, np.arange(1), batch_size))

    def batch_operations(self, batches: Any, valid: Any) -> float:
        """Returns the operations of a step of `train_batches` on each device."""
        with whole_batches():
            return _operations(self._chunk.lower(self._state, self.frozen, (), batches, valid))

    def read_batches(self, read: Rows, order: np.ndarray, batch_size: int) -> tuple[Any, Any]:
        """Returns batches on the devices, for `train_batches`: reading ahead is worth a thread."""
        rows, valid = self._batches(order, batch_size)
        flat = {k: np.asarray(v) for k, v in read(rows.reshape(-1)).items()}
        batches = {k: v.reshape(*rows.shape, *v.shape[1:]) for k, v in flat.items()}
        split = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.device_put((batches, valid), split)

    def train_batches(self, batches: Any, valid: Any) -> np.ndarray:
        """As `train`, on what `read_batches` returned."""
        return self._take(self._chunk, (), batches, valid)

    def loss(self, data: Batch, batch_size: int) -> float:
        """Returns the mean loss over all of `data`, nothing updated."""
        total, weight = self.loss_sums(data, np.arange(len(next(iter(data.values())))), batch_size)
        return total / weight

    def loss_sums(self, data: Batch, order: np.ndarray, batch_size: int) -> tuple[float, float]:
        """Returns sums of weighted losses and of weights over the windows of `order`."""
        rows, valid = self._batches(order, batch_size)
        state = self.params, (), self.statistics, {}
        total, weight = self._evaluate(state, self.frozen, self.place(dict(data)), rows, valid)
        return float(total), float(weight)

    def sum_batches(self, batches: Any, valid: Any) -> tuple[float, float]:
        """Returns sums of weighted losses and of weights over what `read_batches` returned."""
        state = self.params, (), self.statistics, {}
        total, weight = self._evaluate_chunk(state, self.frozen, (), batches, valid)
        return float(total), float(weight)

    def host_params(self) -> dict[str, np.ndarray]:
        """Returns a copy of the trained leaves, and of statistics that follow, on the host."""
        both = {**self.params, **self.statistics}
        return {path: np.array(value) for path, value in both.items()}

    def set_params(self, params: Mapping[str, np.ndarray]) -> None:
        """Takes over what `host_params` returned; the optimizer state stays."""
        self.params, self.statistics = (
            self.place({path: params[path] for path in leaves})
            for leaves in (self.params, self.statistics)
        )

    def host_state(self) -> dict[str, np.ndarray]:
        """Returns a copy of everything that training changes, by name, on the host."""
        leaves, _ = jax.tree_util.tree_flatten_with_path(self._state)
        return {jax.tree_util.keystr(path): np.array(value) for path, value in leaves}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes over what `host_state` returned, bit by bit."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(self._state)
        values = [state[jax.tree_util.keystr(path)] for path, _ in leaves]
        self._state = self.place(jax.tree.unflatten(structure, values))

    def module(self) -> Any:
        """Returns a copy of the module with the trained leaves as they are now."""
        changed = self.host_params()
        frozen = {p: np.asarray(v) for p, v in self.frozen.items()}
        return _merge(self._structure, jax.tree.map(jnp.asarray, {**changed, **frozen}))

    def place(self, tree: Any) -> Any:
        """Returns the tree on every device; already placed arrays are left where they are."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    @property
    def _state(self) -> tuple[Any, Any, Any, Any]:
        """Everything that training changes."""
        return self.params, self.opt_state, self.statistics, self.draws

    @_state.setter
    def _state(self, state: tuple[Any, Any, Any, Any]) -> None:
        self.params, self.opt_state, self.statistics, self.draws = state

    def _take(self, call, data, rows, valid) -> np.ndarray:
        self._state, values, fine = call(self._state, self.frozen, data, rows, valid)
        values, fine = np.asarray(values), np.asarray(fine)
        if not fine.all():
            step = int(np.argmin(fine))
            raise NonFiniteError(values[:step].tolist(), float(values[step]))
        return values

    def _batches(self, order: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and validity, (devices, steps, rows): short batches are padded and masked."""
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        count = self._num_devices
        rows = -(-batch_size // count)
        steps = -(-len(order) // batch_size)
        index = np.zeros((steps, count * rows), np.int32)
        valid = np.zeros((steps, count * rows), np.float32)
        for step in range(steps):
            batch = order[step * batch_size : (step + 1) * batch_size]
            index[step, : len(batch)], valid[step, : len(batch)] = batch, 1

        def by_device(x: np.ndarray) -> np.ndarray:
            mine = slice(self._first_device, self._first_device + len(self.devices))
            return x.reshape(steps, count, rows).swapaxes(0, 1)[mine]

        return by_device(index), by_device(valid)

    def _with_masked_nodes(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        masked = dict.fromkeys((*self.frozen, *self.statistics), optax.MaskedNode())
        return {**trained, **masked}

    def _weighted(self, loss, module, batch, valid):
        losses, weights = loss(module, {**batch, VALID: valid})
        weights = jax.lax.stop_gradient(weights) * valid
        # A padded row repeats a real window; where() keeps a NaN of its from spreading.
        return jnp.sum(jnp.where(weights > 0, losses * weights, 0)), jnp.sum(weights)

    def _in_training(self, loss, params, statistics, draws, frozen, batch, valid):
        """As `_weighted`, and the statistics after the batch."""
        module = _merge(self._structure, {**params, **statistics, **frozen})
        with contextlib.ExitStack() as mode:
            if statistics:
                mode.enter_context(batch_statistics(valid, axis_name=AXIS))
            if draws:
                keys = _row_keys(self._drop.seed, draws["step"], len(valid))
                mode.enter_context(dropout(self._drop.rate, keys))
            total, weight = self._weighted(loss, module, batch, valid)
        leaves = _leaves(module)
        return total, weight, {path: leaves[path][...] for path in statistics}

    def _run_steps(self, loss, rows_of, state, frozen, data, rows, valid):
        def step(carry, now):
            (params, opt_state, statistics, draws), fine = carry
            rows, valid = now

            def mean(params):
                total, weight, after = self._in_training(
                    loss, params, statistics, draws, frozen, rows_of(data, rows), valid
                )
                return total / jax.lax.psum(weight, AXIS), after

            (value, after), gradients = jax.value_and_grad(mean, has_aux=True)(params)
            value, gradients = jax.lax.psum((value, gradients), AXIS)
            # After a bad batch nothing moves any more: the last good state is what is returned.
            sizes = [jnp.sum(jnp.abs(g)) for g in jax.tree.leaves(gradients)]
            fine &= jnp.isfinite(value) & jnp.isfinite(sum(sizes))
            updates, new_state = self._optimizer.update(
                self._with_masked_nodes(gradients), opt_state, self._with_masked_nodes(params)
            )
            moved = optax.apply_updates(params, {p: updates[p] for p in params})
            state = jax.tree.map(
                lambda after, before: jnp.where(fine, after, before),
                (moved, new_state, after, {name: value + 1 for name, value in draws.items()}),
                (params, opt_state, statistics, draws),
            )
            return (state, fine), (value, fine)

        start = state, jnp.bool_(True)
        (state, _), (losses, fine) = jax.lax.scan(step, start, (rows, valid))
        return state, losses, fine

    def _total_loss(self, loss, rows_of, state, frozen, data, rows, valid):
        params, _, statistics, _ = state

        def step(carry, now):
            rows, valid = now
            module = _merge(self._structure, {**params, **statistics, **frozen})
            total, weight = self._weighted(loss, module, rows_of(data, rows), valid)
            return (carry[0] + total, carry[1] + weight), None

        start = (jnp.zeros(()), jnp.zeros(()))
        return jax.lax.psum(jax.lax.scan(step, start, (rows, valid))[0], AXIS)


def _row_keys(seed: int, step: jax.Array, rows: int) -> jax.Array:
    """A random key for each row of this device; they are the same on any number of devices."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), step)
    at = jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, at)


def _operations(program: jax.stages.Lowered) -> float:
    """As XLA counts them, 0 where it does not."""
    return float((program.cost_analysis() or {}).get("flops", 0.0))


def _rows_of(data: Any, rows: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[rows], data)


def _given(data: Any, rows: Any) -> Any:
    del data
    return rows


def epoch_order(windows: int, epoch: int, seed: int) -> np.ndarray:
    """Returns the shuffled window order of an epoch; it depends on (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(windows)


def epoch_orders(windows: int, epochs: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the shuffled window order of each epoch."""
    for epoch in range(epochs):
        yield epoch_order(windows, epoch, seed)
