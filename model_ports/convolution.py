"""Convolutions over time whose gradients are fast on a CPU too."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def convolve(
    lhs: jax.Array, rhs: jax.Array, window_strides: tuple[int, ...], padding: Any, *,
    feature_group_count: int = 1, **options: Any,
) -> jax.Array:
    """Stands in for `jax.lax.conv_general_dilated` in a one-dimensional `nnx.Conv`.

    XLA on a CPU hands the gradients of a convolution inside a loop, such as an epoch's scan, and the
    kernel's gradient of a grouped one anywhere, to no library but computes them element by element:
    on 2 cores 4 to 7 times (input) and 20 to 60 times (kernel) slower than the matrix products, one
    per kernel tap, that they are here; of a grouped one, 6 to 130 times slower than the convolutions
    in the order of axes that the library takes, which they are here. The convolution itself, and
    everything on accelerators, stays as it is.

    Args:
        lhs: (batch, tokens, in_features).
        rhs: (width, in_features / groups, out_features).
        window_strides, padding: as `nnx.Conv` passes them.
        feature_group_count: groups; with more than one the stride must be 1 to be faster.
        options: the same; dilation is not supported.
    """
    if jax.default_backend() != "cpu" or (feature_group_count > 1 and window_strides != (1,)):
        return jax.lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, feature_group_count=feature_group_count, **options
        )
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(
            lhs.shape[1:2], rhs.shape[:1], window_strides, padding
        )
    (stride,), ((before, after),) = window_strides, padding
    return _convolved(lhs, rhs, stride, (before, after), feature_group_count)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _convolved(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int], groups: int
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,), (padding,), dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


def _tangents(
    stride: int, padding: tuple[int, int], groups: int, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    (x, kernel), (dx, dkernel) = primals, tangents
    out = _convolved(x, kernel, stride, padding, groups)
    change = jnp.zeros_like(out)
    if groups > 1:
        # The transpose of what the gradient shall be: transposed again, it is that.
        if not isinstance(dx, SymbolicZero):
            gradient = functools.partial(_input_gradient, kernel, padding, groups)
            change += jax.linear_transpose(gradient, out)(dx)[0]
        if not isinstance(dkernel, SymbolicZero):
            gradient = functools.partial(_kernel_gradient, x, padding, groups)
            change += jax.linear_transpose(gradient, out)(dkernel)[0]
        return out, change
    if not isinstance(dx, SymbolicZero):
        change += _by_taps(dx, kernel, stride, padding)
    if not isinstance(dkernel, SymbolicZero):
        change += _by_taps(x, dkernel, stride, padding)
    return out, change


_convolved.defjvp(_tangents, symbolic_zeros=True)


def _by_taps(x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[int, int]) -> jax.Array:
    x = jnp.pad(x, ((0, 0), padding, (0, 0)))
    width, tokens = kernel.shape[0], x.shape[1]
    last = (tokens - width) // stride * stride
    return sum(
        jax.lax.slice_in_dim(x, i, i + last + 1, stride, axis=1) @ kernel[i] for i in range(width)
    )


def _input_gradient(
    kernel: jax.Array, padding: tuple[int, int], groups: int, dout: jax.Array
) -> jax.Array:
    """The outputs' gradient, convolved with the kernel turned round in time and features."""
    width, fan_in, features = kernel.shape
    turned = kernel[::-1].reshape(width, fan_in, groups, features // groups)
    turned = turned.transpose(0, 3, 2, 1).reshape(width, features // groups, groups * fan_in)
    before, after = (width - 1 - pad for pad in padding)
    return _convolved(dout, turned, 1, (before, after), groups)


def _kernel_gradient(
    x: jax.Array, padding: tuple[int, int], groups: int, dout: jax.Array
) -> jax.Array:
    """The input convolved with the outputs' gradient; a group's features and the batch swap roles."""
    batch, _, features = x.shape
    fan_in = features // groups
    x = jnp.pad(x, ((0, 0), padding, (0, 0))).reshape(batch, -1, groups, fan_in)
    x = x.transpose(3, 1, 2, 0).reshape(fan_in, -1, groups * batch)
    return _convolved(x, dout.transpose(1, 0, 2), 1, (0, 0), groups).transpose(1, 0, 2)
