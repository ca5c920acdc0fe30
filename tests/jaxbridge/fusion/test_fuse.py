"""Fusions against their formulas."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.fusion import Fuse, FusionClassifier

X = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)


def test_concatenation_and_addition():
    assert Fuse("concatenate", 3, 5).out_features == 15 and Fuse("add", 3, 5).out_features == 5
    np.testing.assert_array_equal(Fuse("concatenate", 3, 5)(X), X.reshape(4, 15))
    np.testing.assert_allclose(Fuse("add", 3, 5)(X), X[:, 0] + X[:, 1] + X[:, 2], rtol=1e-6)


def test_gates_start_equal_and_weigh_by_the_softmax_of_a_linear_score():
    fuse = Fuse("gate", 3, 5)
    np.testing.assert_allclose(fuse(X), X.mean(axis=1), rtol=1e-5)
    rng = np.random.default_rng(1)
    score, offset = rng.standard_normal((3, 5)), rng.standard_normal(3)
    fuse.score.set_value(score.astype(np.float32))
    fuse.offset.set_value(offset.astype(np.float32))
    power = np.exp((X * score).sum(axis=2) + offset)
    gates = power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fuse.gates(X), gates, rtol=1e-4)
    np.testing.assert_allclose(fuse(X), np.einsum("bs,bsf->bf", gates, X), rtol=1e-4, atol=1e-5)


def test_an_unknown_fusion_is_refused():
    with pytest.raises(mp.InputError, match="'multiply'.*concatenate"):
        Fuse("multiply", 3, 5)


def test_the_classifier_standardises_fuses_each_modality_then_all():
    embeddings = 7 + 3 * np.random.default_rng(2).standard_normal((50, 2, 3, 4)).astype(np.float32)
    embeddings[:, 1, 2, 3] = 5.0  # tells nothing
    model = FusionClassifier(
        embeddings, 2, within="add", across="concatenate", hidden=None, rngs=nnx.Rngs(0)
    )
    std = embeddings.std(axis=0)
    std[1, 2, 3] = np.inf
    unit = (embeddings - embeddings.mean(axis=0)) / std
    layer = model.head.layers[0]
    wanted = unit.sum(axis=2).reshape(50, 8) @ layer.kernel[...] + layer.bias[...]
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, embeddings), wanted, atol=1e-4)
