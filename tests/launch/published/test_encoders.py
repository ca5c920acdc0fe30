import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from launch.published.encoders import SMALL, study_encoder

_RANDOM = {"checkpoints": None, "seed": 0, "dtype": "float32"}


@pytest.mark.parametrize("name", mp.available())
def test_a_small_one_of_every_name_is_made_and_has_biases(name):
    assert name in SMALL
    encoder = study_encoder(name, ("F3", "O1"), small=True, **_RANDOM)
    biases = [
        np.asarray(parameter[...]) for path, parameter in nnx.iter_graph(encoder)
        if isinstance(parameter, nnx.Param) and path[-1] == "bias"
    ]
    assert biases and all(bias.any() for bias in biases)


def test_the_gradient_at_a_bridges_first_output_is_finite():
    """Through all sixteen norms of HuBERT-ECG; without biases it is beyond float32."""

    zeros = jnp.zeros((1, 3, 512))
    target = jax.random.normal(jax.random.key(0), zeros.shape)

    def alike(encoder, tokens):
        return jnp.vdot(encoder.run(tokens, 0, encoder.num_layers), target)

    gradient = jax.jit(jax.grad(alike, argnums=1))
    random = study_encoder("hubert_ecg_small", (), small=False, **_RANDOM)
    assert 0 < np.abs(gradient(random, zeros)).max() < 1e4
    published = mp.create("hubert_ecg_small", rngs=nnx.Rngs(0))
    assert not np.isfinite(gradient(published, zeros)).all()
