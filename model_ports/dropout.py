"""Dropout (Srivastava et al., 2014): nothing is dropped except while an encoder is trained."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

_LEVELS = 256  # a byte of random bits per value


class _Dropout(NamedTuple):
    """How many of 256 values are dropped, and a key for each row of the batch."""

    dropped: int
    keys: jax.Array


_dropout: contextvars.ContextVar[_Dropout | None] = contextvars.ContextVar("dropout", default=None)


@contextlib.contextmanager
def dropout(rate: float, keys: jax.Array) -> Iterator[None]:
    """Drops values in what is computed inside, at the places where the published code does.

    Args:
        rate: share of values that become 0, from 0 to below 1, rounded to 256ths. The others are
            divided by the share that is kept, so that sums keep their expectation.
        keys: (batch,) random keys; what is dropped of a row depends on its key alone, however the
            batch is split.
    """
    before = _dropout.set(_Dropout(min(round(rate * _LEVELS), _LEVELS - 1), keys))
    try:
        yield
    finally:
        _dropout.reset(before)


def dropped(x: jax.Array, place: int) -> jax.Array:
    """(batch, ...) -> the same; within `dropout`, values are dropped independently of each other.

    Args:
        x: what a layer hands on.
        place: tells the places of an encoder apart.
    """
    now = _dropout.get()
    if now is None or not now.dropped:
        return x
    keep = _random_bytes(now.keys, x.shape[1:], place) >= now.dropped
    return jnp.where(keep, x * (_LEVELS / (_LEVELS - now.dropped)), 0).astype(x.dtype)


def _random_bytes(keys: jax.Array, shape: tuple[int, ...], place: int) -> jax.Array:
    """(batch, *shape) of 0 to 255. Four are cut out of a word; `jax.random.bits` draws one for each."""
    size = math.prod(shape)

    def words(key: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.fold_in(key, place), (-(-size // 4),))

    shifts = jnp.arange(0, 32, 8, dtype=jnp.uint32)[:, None]
    found = (jax.vmap(words)(keys)[:, None] >> shifts) & (_LEVELS - 1)
    return found.reshape(len(keys), -1)[:, :size].reshape(len(keys), *shape)
