"""What single methods minimise, and the parts they are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax, softmax

from jaxbridge.head import TaskHead
from jaxbridge.methods import Distillation, Optimisation, Translation
from jaxbridge.methods.embedding_student import EmbeddingStudent
from jaxbridge.methods.generator import Generator, as_leads
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_minimises_the_softened_cross_entropy(temperature):
    rng = np.random.default_rng(0)
    student, teacher = (rng.standard_normal((5, 3)).astype(np.float32) for _ in range(2))
    found, weights = Distillation(temperature=temperature).loss(
        jnp.asarray, {"signal": student, "logits": teacher}
    )
    wanted = -temperature**2 * np.sum(
        softmax(teacher / temperature, axis=1) * log_softmax(student / temperature, axis=1), axis=1
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(weights, 1)


def test_a_perfect_student_gives_the_teachers_logits():
    """Its centred embedding is the target: mean and scale put the head's input back."""
    embeddings = (5 + 0.1 * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
    head = TaskHead(3, 2, rngs=nnx.Rngs(0))
    student = EmbeddingStudent(lambda x: x[:, None], 3, embeddings, head, rngs=nnx.Rngs(0))
    assert student.projection is None
    target = student.target(embeddings)
    np.testing.assert_allclose(target.mean(axis=0), 0, atol=1e-4)
    assert np.mean(target**2) == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(
        student(jnp.asarray(target)), head(jnp.asarray(embeddings)), rtol=1e-4, atol=1e-4
    )


def test_rescaling_undoes_a_wrong_scale_and_shift():
    """What InfoNCE leaves open, the pairs' moments tell."""
    embeddings = (5 + 0.1 * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
    head = TaskHead(3, 2, rngs=nnx.Rngs(0))
    student = EmbeddingStudent(lambda x: x[:, None], 3, embeddings, head, rngs=nnx.Rngs(0))
    wrong = (0.2 * student.target(embeddings) - 4).astype(np.float32)

    class Data:
        pair, batch_size, new_modality = np.arange(20), 20, "new"

        def reader(self, modality):
            return lambda indices: wrong[indices]

    student.rescale(Data())
    np.testing.assert_allclose(
        student(jnp.asarray(wrong)), head(jnp.asarray(embeddings)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("new", "old"), [
    ((600,), (2, 3, 200)), ((4, 3), (7,)),
])
def test_a_generator_makes_every_shape_of_signal(new, old):
    rng = np.random.default_rng(0)
    signals = [(3 + rng.standard_normal((6, *shape))).astype(np.float32) for shape in (new, old)]
    # One program, in place of one per shape.
    generator = jax.jit(lambda: Generator(*signals, hidden=2, rngs=nnx.Rngs(0)))()
    target = np.asarray(generator.target(jnp.asarray(signals[1])))
    made = jax.eval_shape(Generator.standardised, generator, signals[0])
    assert made.shape == target.shape == (6, *as_leads(signals[1]).shape[1:])
    np.testing.assert_allclose(target.mean(axis=(0, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(generator.signal(target), signals[1], rtol=1e-4, atol=1e-4)


def test_refusals():
    with pytest.raises(InputError, match="temperature"):
        Distillation(temperature=0)
    with pytest.raises(InputError, match="loss is 'info_nce'"):
        Translation(loss="info_nce")
    with pytest.raises(InputError, match="learning_rate"):
        Optimisation(-1.0)
    with pytest.raises(InputError, match="no leads of a signal"):
        Generator(np.zeros((2, 1, 1, 1, 1)), np.zeros((2, 3)), hidden=2, rngs=nnx.Rngs(0))
    assert toy_study.small("KD").optimisation.epochs is None
