"""Six full-size training steps equal the PyTorch original's, in both layouts."""

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.bridge import PrototypeBridge
from jaxbridge.bridged_model import BridgedModel
from jaxbridge.head import TaskHead
from jaxbridge.training import losses
from jaxbridge.training.bridging import BridgeSettings, bridge_trainer
from tests import recipe
from tests.golden import Golden, relative_error


@pytest.fixture(scope="module")
def encoders():
    old = mp.from_state_dict("labram", Golden("labram").state_dict())
    new = mp.from_state_dict("hubert_ecg_small", Golden("hubert_ecg_small").state_dict())
    return old, new


@pytest.mark.parametrize(
    ("folder", "layout"),
    [
        pytest.param("bridge_paper_layout", "paper", marks=pytest.mark.slow),
        ("bridge_labram_from_hubert", "reinterpret"),
    ],
)
def test_steps_equal_the_reference(encoders, folder, layout):
    golden, (old, new) = Golden(folder).arrays, encoders
    bridge = PrototypeBridge.from_reference({
        "A": recipe.tensor("A", (8, 512)),
        "B": np.float32(0.1) * recipe.tensor("B", (3620, 8)),
        "prototypes": recipe.tensor("P", (200, 20)),
    }, layout=layout)
    model = BridgedModel(new, old, bridge, TaskHead(200, 2, rngs=nnx.Rngs(0)), (3, 4))
    pooled = jax.jit(lambda m, x: m.pooled(x))(model, recipe.signal(1, (4, 3000)))
    target = jax.jit(lambda e, x: e(x))(old, recipe.signal(0, (4, 6, 30, 200)))
    assert relative_error(pooled, golden["bridge_input"]) < 1e-5
    assert relative_error(target.mean(axis=1), golden["target_mean"]) < 1e-5

    @jax.jit
    def forward_and_gradient(bridge, pooled, target):
        def loss(bridge):
            predicted = BridgedModel(new, old, bridge, model.head, (3, 4)).suffix.last_layer(pooled)
            return losses.cosine(predicted, target).mean(), predicted

        return jax.value_and_grad(loss, has_aux=True)(bridge)

    (_, predicted), gradient = forward_and_gradient(bridge, pooled, target)
    assert relative_error(predicted.mean(axis=1), golden["predicted_mean"]) < 1e-4
    gradient_a, gradient_b, gradient_p = _as_reference(gradient)
    assert relative_error(gradient_a[:8, :16], golden["grad_A_corner"]) < 1e-4
    assert relative_error(gradient_b[:16, :8], golden["grad_B_corner"]) < 1e-4
    assert relative_error(gradient_p[:8, :16], golden["grad_P_corner"]) < 1e-4

    trainer = bridge_trainer(model, BridgeSettings(learning_rate=1e-3))
    data = {"pooled": np.asarray(pooled), "target": np.asarray(target)}
    for step in range(6):
        (loss,) = trainer.train(data, np.arange(4), 4)
        assert loss == pytest.approx(golden["loss"][step], rel=1e-4)
        norms = [np.linalg.norm(x) for x in _as_reference(trainer.module().bridge)]
        np.testing.assert_allclose(norms, golden["norm_after_step"][step], rtol=1e-4)
    a, b, p = _as_reference(trainer.module().bridge)
    assert relative_error(a[:8, :16], golden["final_A_corner"]) < 1e-4
    assert relative_error(b[:16, :8], golden["final_B_corner"]) < 1e-4
    assert relative_error(p[:8, :16], golden["final_P_corner"]) < 1e-4


def _as_reference(bridge) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B, prototypes (or their gradients) in the reference's orientation."""
    b = np.asarray(bridge.low_rank_b[...]).reshape(8, 181, 20).transpose(2, 1, 0).reshape(-1, 8)
    return np.asarray(bridge.low_rank_a[...]).T, b, np.asarray(bridge.prototypes[...]).T
