"""Batch norm by the batch's statistics: NumPy and PyTorch as oracles, padding, devices, folding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_ports.axial_attention import AxialAttention
from model_ports.batch_norm import BatchNorm, batch_statistics
from model_ports.ecg_dualnet import ConditionalBatchNorm, EcgDualnetConfig


def _norm(features: int = 3) -> BatchNorm:
    rng, norm = np.random.default_rng(0), BatchNorm(features)
    for leaf, value in (
        (norm.scale, rng.normal(1, 0.3, features)), (norm.bias, rng.normal(0, 1, features)),
        (norm.mean, rng.normal(0, 1, features)), (norm.var, rng.uniform(0.5, 2, features)),
    ):
        leaf.set_value(jnp.asarray(value, jnp.float32))
    return norm


def _slow(norm: BatchNorm, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Result, and stored mean and variance afterwards, in float64."""
    x = x.astype(np.float64)
    rows = x.reshape(-1, x.shape[-1])
    mean, var = rows.mean(axis=0), rows.var(axis=0)
    scale, bias, stored_mean, stored_var = (
        np.asarray(leaf[...], np.float64) for leaf in (norm.scale, norm.bias, norm.mean, norm.var)
    )
    y = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    return y, 0.9 * stored_mean + 0.1 * mean, 0.9 * stored_var + 0.1 * rows.var(axis=0, ddof=1)


def _check(norm, y, expected):
    for ours, theirs in zip((y, norm.mean[...], norm.var[...]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_numpy_oracle_and_the_stored_statistics_outside():
    norm, x = _norm(), np.random.default_rng(1).normal(4, 3, (5, 7, 3)).astype(np.float32)
    stored = norm.scale[...] * (x - norm.mean[...]) / np.sqrt(norm.var[...] + 1e-5) + norm.bias[...]
    np.testing.assert_allclose(norm(x), stored, rtol=1e-5, atol=1e-5)
    expected = _slow(norm, x)
    with batch_statistics():
        y = norm(x)
    _check(norm, y, expected)
    assert not np.allclose(norm(x), y)  # by what is stored again


def test_padding_does_not_count_however_many_rows_a_window_has():
    norm, x = _norm(), np.random.default_rng(1).normal(4, 3, (3, 2, 7, 3)).astype(np.float32)
    padded = np.concatenate([x, 100 * x[:1]]).reshape(8, 7, 3)  # 2 rows for each of 4 windows
    expected = _slow(norm, x)
    with batch_statistics(jnp.array([1.0, 1, 1, 0])):
        y = norm(padded)
    _check(norm, np.asarray(y)[:6].reshape(x.shape), expected)


def test_eight_devices_are_one_batch():
    # 13 windows on 8 devices: the last one has padding only
    norm, x = _norm(), np.random.default_rng(1).normal(4, 3, (13, 7, 3)).astype(np.float32)
    expected = _slow(norm, x)
    x = np.concatenate([x, x[:3]]).reshape(8, 2, 7, 3)
    valid = np.arange(16).reshape(8, 2) < 13

    @functools.partial(jax.pmap, axis_name="all", in_axes=(None, 0, 0), out_axes=(0, None))
    def apply(norm, x, valid):
        with batch_statistics(valid.astype(jnp.float32), axis_name="all"):
            return norm(x), (norm.mean[...], norm.var[...])

    y, (mean, var) = apply(norm, x, valid)
    norm.mean.set_value(mean)
    norm.var.set_value(var)
    _check(norm, np.asarray(y).reshape(16, 7, 3)[:13], expected)


def test_pytorch():
    torch = pytest.importorskip("torch")
    norm, rng = _norm(), np.random.default_rng(2)
    theirs = torch.nn.BatchNorm1d(3)
    with torch.no_grad():
        for name, leaf in (
            ("weight", norm.scale), ("bias", norm.bias), ("running_mean", norm.mean),
            ("running_var", norm.var),
        ):
            getattr(theirs, name).copy_(torch.from_numpy(np.array(leaf[...])))
    for _ in range(3):
        x, upstream = rng.normal(2, 3, (2, 6, 5, 3)).astype(np.float32)

        def summed(norm, x, upstream=upstream):
            with batch_statistics():
                y = norm(x)
            return jnp.sum(y * upstream), y

        gradient, y = jax.grad(lambda x, f=summed: f(nnx.clone(norm), x), has_aux=True)(x)
        summed(norm, x)
        given = torch.from_numpy(x.transpose(0, 2, 1).copy()).requires_grad_(True)
        out = theirs(given)
        out.backward(torch.from_numpy(upstream.transpose(0, 2, 1).copy()))
        np.testing.assert_allclose(y, out.detach().numpy().transpose(0, 2, 1), atol=1e-5)
        np.testing.assert_allclose(gradient, given.grad.numpy().transpose(0, 2, 1), atol=1e-5)
        np.testing.assert_allclose(norm.mean[...], theirs.running_mean.numpy(), atol=1e-5)
        np.testing.assert_allclose(norm.var[...], theirs.running_var.numpy(), rtol=1e-5)


def test_conditional_norm_is_a_norm_then_scaled_and_shifted():
    config = EcgDualnetConfig()
    layer = ConditionalBatchNorm(config, 3, rngs=nnx.Rngs(0))
    layer.norm = _norm()
    rng = np.random.default_rng(3)
    x = rng.normal(1, 2, (4, 5, 6, 3)).astype(np.float32)
    context = rng.normal(size=(4, config.window_samples)).astype(np.float32)
    expected = _slow(layer.norm, x)
    scale, shift = np.split(np.asarray(layer.condition(context))[:, None, None], 2, axis=-1)
    with batch_statistics():
        y = layer(x, context)
    _check(layer.norm, y, (expected[0] * scale + shift, *expected[1:]))


def test_axial_attention_with_its_norms_written_out():
    """Queries, keys and values normed; 3 similarities normed; 2 results normed, then added."""
    groups, span, features, valid = 2, 5, 8, np.array([1.0, 1, 0])
    layer = AxialAttention(features, span, groups, dtype=jnp.float32, rngs=nnx.Rngs(0))
    width, norms = features // groups, (layer.qkv_norm, layer.similarity_norm, layer.output_norm)
    for norm in norms:
        norm.var.set_value(norm.var[...] * 1.7)
    written = nnx.clone(layer)
    x = np.random.default_rng(4).normal(size=(6, span, features)).astype(np.float32)
    with batch_statistics(jnp.asarray(valid)):
        y = np.asarray(layer(x))[:4]

        qkv = written.qkv_norm(written.qkv(x)).reshape(6, span, groups, 2 * width)
        query, key, value = np.split(np.asarray(qkv), (width // 2, width), axis=-1)
        distance = np.arange(span)[:, None] - np.arange(span) + span - 1
        table = np.asarray(written.relative[...])[:, distance]
        of_query, of_key, of_value = np.split(table, (width // 2, width))
        by_query = np.einsum("nigc,cij->ngij", query, of_query)
        by_key = np.einsum("nigc,cij->ngij", key, of_key)
        by_both = np.einsum("ngpi,ngpj->ngij", by_query, by_key)
        stacked = np.concatenate([by_both, by_query, by_key], axis=1)
        normed = written.similarity_norm(jnp.asarray(stacked.transpose(0, 2, 3, 1)))
        logits = np.asarray(normed).reshape(6, span, span, 3, groups).sum(axis=3)
        weights = np.asarray(jax.nn.softmax(logits.transpose(0, 3, 1, 2), axis=-1))
        results = np.stack([
            np.einsum("ngij,njgc->nigc", weights, value),
            np.einsum("ngij,cij->nigc", weights, of_value),
        ], axis=-1)
        out = written.output_norm(jnp.asarray(results.reshape(6, span, -1)))
    np.testing.assert_allclose(
        y, np.asarray(out).reshape(6, span, features, 2).sum(axis=-1)[:4], rtol=1e-4, atol=1e-5
    )
    for ours, theirs in zip(norms, (written.qkv_norm, written.similarity_norm, written.output_norm),
                            strict=True):
        assert not np.allclose(ours.var[...], 1.7)
        np.testing.assert_allclose(ours.mean[...], theirs.mean[...], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours.var[...], theirs.var[...], rtol=1e-4)
