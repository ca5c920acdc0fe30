"""One pmapped step for everything that is trained: a head, an encoder, a bridge.

A label tree decides which leaves of a module are differentiated and updated; all others get no
gradient, no optimizer state and no change. A call runs a whole epoch, or a chunk of one, as one
compiled scan over batches.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model_ports.errors import InputError

# A loss maps (module, batch) to per-window losses and weights, (rows,) each; a step minimises
# sum(weights * losses) / sum(weights) over the whole batch on all devices.
Loss = Callable[[Any, Any], tuple[jax.Array, jax.Array]]
Batch = Mapping[str, np.ndarray]
_AXIS = "batch"


def labels(module: nnx.Module, trainable: Callable[[str], bool]) -> dict[str, str]:
    """Returns "bridge" (trained) or "frozen" for every leaf of the module, by path.

    Args:
        module: any NNX module.
        trainable: tells by path, such as "bridge.low_rank_a", whether a parameter moves. Only
            `nnx.Param` leaves can.
    """
    return {
        path: "bridge" if isinstance(leaf, nnx.Param) and trainable(path) else "frozen"
        for path, leaf in _leaves(module).items()
    }


def _leaves(module: nnx.Module) -> dict[str, nnx.Variable]:
    return {".".join(map(str, p)): v for p, v in nnx.to_flat_state(nnx.state(module))}


class Trainer:
    """Trains the labelled leaves of a module on all local devices.

    Args:
        module: the module; it is left as it is, `module()` returns a trained copy.
        loss: see `Loss`.
        leaf_labels: from `labels`.
        optimizer: applied to the trained leaves through `optax.masked`.
        devices: defaults to all local devices.

    Attributes:
        params: trained leaves by path, replicated.
        opt_state: optimizer state, of the trained leaves only.

    Raises:
        InputError: nothing is labelled as trained.
    """

    def __init__(
        self, module: nnx.Module, loss: Loss, leaf_labels: Mapping[str, str],
        optimizer: optax.GradientTransformation, *, devices: list[jax.Device] | None = None,
    ):
        leaves = _leaves(module)
        trained = [path for path in leaves if leaf_labels[path] != "frozen"]
        if not trained:
            raise InputError("no parameter is labelled as trained; nothing would move.")
        self.devices = devices or jax.local_devices()
        self._replicated = NamedSharding(Mesh(np.array(self.devices), (_AXIS,)), PartitionSpec())
        self._structure = nnx.split(module)
        # pmap donates this state, so it must not share buffers with the caller's module.
        self.params = self.place({p: np.asarray(leaves[p][...]) for p in trained})
        self.frozen = self.place({p: v[...] for p, v in leaves.items() if p not in self.params})
        mask = {path: leaf_labels[path] != "frozen" for path in leaves}
        self._optimizer = optax.masked(optimizer, mask)
        self.opt_state = self.place(self._optimizer.init(self._with_masked_nodes(self.params)))
        self._epoch = jax.pmap(
            functools.partial(self._run_steps, loss), axis_name=_AXIS, devices=self.devices,
            in_axes=(None, None, None, None, 0, 0), out_axes=None, donate_argnums=(0, 1),
        )
        self._evaluate = jax.pmap(
            functools.partial(self._total_loss, loss), axis_name=_AXIS, devices=self.devices,
            in_axes=(None, None, None, 0, 0), out_axes=None,
        )

    def train(self, data: Batch, order: np.ndarray, batch_size: int) -> np.ndarray:
        """Runs one step per `batch_size` entries of `order` in one compiled call.

        Args:
            data: arrays with a leading window axis.
            order: (windows,) indices into `data`; the last batch may be smaller.
            batch_size: windows per step, over all devices.

        Returns:
            The loss of each step before its update, (steps,).
        """
        rows, valid = self._batches(order, batch_size)
        self.params, self.opt_state, losses = self._epoch(
            self.params, self.opt_state, self.frozen, self.place(dict(data)), rows, valid
        )
        return np.asarray(losses)

    def loss(self, data: Batch, batch_size: int) -> float:
        """Returns the mean loss over all of `data`, nothing updated."""
        size = len(next(iter(data.values())))
        rows, valid = self._batches(np.arange(size), batch_size)
        total, weight = self._evaluate(
            self.params, self.frozen, self.place(dict(data)), rows, valid
        )
        return float(total) / float(weight)

    def host_params(self) -> dict[str, np.ndarray]:
        """Returns a copy of the trained leaves on the host."""
        return {path: np.array(value) for path, value in self.params.items()}

    def set_params(self, params: Mapping[str, np.ndarray]) -> None:
        """Replaces the trained leaves; the optimizer state stays."""
        self.params = self.place(dict(params))

    def module(self) -> Any:
        """Returns a copy of the module with the trained leaves as they are now."""
        params = self.host_params()
        frozen = {p: np.asarray(v) for p, v in self.frozen.items()}
        return self._merge(jax.tree.map(jnp.asarray, {**params, **frozen}))

    def place(self, tree: Any) -> Any:
        """Returns the tree on every device; already placed arrays are left where they are."""
        return jax.device_put(tree, self._replicated)

    def _batches(self, order: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and validity, (devices, steps, rows): short batches are padded and masked."""
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        count = len(self.devices)
        rows = -(-batch_size // count)
        steps = -(-len(order) // batch_size)
        index = np.zeros((steps, count * rows), np.int32)
        valid = np.zeros((steps, count * rows), np.float32)
        for step in range(steps):
            batch = order[step * batch_size : (step + 1) * batch_size]
            index[step, : len(batch)], valid[step, : len(batch)] = batch, 1

        def by_device(x: np.ndarray) -> np.ndarray:
            return x.reshape(steps, count, rows).swapaxes(0, 1)

        return by_device(index), by_device(valid)

    def _merge(self, leaves: Mapping[str, jax.Array]) -> Any:
        graph, state = self._structure
        flat = [
            (path, leaf.replace(leaves[".".join(map(str, path))]))
            for path, leaf in nnx.to_flat_state(state)
        ]
        return nnx.merge(graph, nnx.from_flat_state(flat))

    def _with_masked_nodes(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        return {**trained, **{path: optax.MaskedNode() for path in self.frozen}}

    def _weighted(self, loss, params, frozen, data, index, valid):
        batch = jax.tree.map(lambda x: x[index], data)
        losses, weights = loss(self._merge({**params, **frozen}), batch)
        weights = jax.lax.stop_gradient(weights) * valid
        # A padded row repeats a real window; where() keeps a NaN of its from spreading.
        return jnp.sum(jnp.where(weights > 0, losses * weights, 0)), jnp.sum(weights)

    def _run_steps(self, loss, params, opt_state, frozen, data, index, valid):
        def step(carry, rows):
            params, opt_state = carry

            def mean(params):
                total, weight = self._weighted(loss, params, frozen, data, *rows)
                return total / jax.lax.psum(weight, _AXIS)

            value, gradients = jax.lax.psum(jax.value_and_grad(mean)(params), _AXIS)
            updates, opt_state = self._optimizer.update(
                self._with_masked_nodes(gradients), opt_state, self._with_masked_nodes(params)
            )
            params = optax.apply_updates(params, {p: updates[p] for p in params})
            return (params, opt_state), value

        (params, opt_state), losses = jax.lax.scan(step, (params, opt_state), (index, valid))
        return params, opt_state, losses

    def _total_loss(self, loss, params, frozen, data, index, valid):
        def step(carry, rows):
            total, weight = self._weighted(loss, params, frozen, data, *rows)
            return (carry[0] + total, carry[1] + weight), None

        start = (jnp.zeros(()), jnp.zeros(()))
        return jax.lax.psum(jax.lax.scan(step, start, (index, valid))[0], _AXIS)


def epoch_orders(windows: int, epochs: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the shuffled window order of each epoch; epoch e depends on (seed, e) alone."""
    for epoch in range(epochs):
        yield np.random.default_rng([seed, epoch]).permutation(windows)
