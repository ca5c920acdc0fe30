"""The closed forms against scikit-learn's ridge, JAX' own derivatives and a plain training loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.linear_model import Ridge

from jaxbridge import BridgeSettings, PrototypeBridge, TaskHead
from jaxbridge.features.checks import stack
from jaxbridge.selection import joint
from jaxbridge.selection.folds import stratified_folds
from jaxbridge.training import losses
from model_ports.encoder import token_mean
from model_ports.errors import InputError
from tests.jaxbridge.toy import Toy

WINDOWS = 24


@pytest.fixture(scope="module")
def setting():
    """Two new layers of unequal width and all tokens of the toy encoder on the same windows."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((WINDOWS, 4, 3)).astype(np.float32)
    flat = signal.reshape(WINDOWS, -1)
    new = [
        flat @ rng.standard_normal((12, w)) + 0.3 * rng.standard_normal((WINDOWS, w)) for w in (5, 8)
    ]
    old = Toy(rngs=nnx.Rngs(0))
    context = {"gain": old.context(signal)["gain"].mean(axis=0, keepdims=True)}
    head = TaskHead(3, 2, rngs=nnx.Rngs(1), context=context)
    tokens = [signal]
    for i in range(2):
        tokens.append(np.asarray(old.run(jnp.asarray(tokens[-1]), i, i + 1, head.context_for(WINDOWS))))
    last = tokens[-1]
    tokens[-1] = last.mean(axis=1, keepdims=True)
    logits = np.asarray(head(token_mean(jnp.asarray(last))))
    folds = stratified_folds(np.arange(WINDOWS) % 2, 3)
    grams = np.stack([joint.gram(h) for h in tokens])
    maps = joint.ridge_maps(stack(new)[0], grams, folds)
    return {"new": new, "old": old, "head": head, "tokens": tokens, "last": last, "logits": logits,
            "folds": folds, "maps": maps, "grams": grams}  # fmt: skip


def held_out(x, y, folds, penalty):
    """scikit-learn's held-out predictions with the penalty relative to the training sum of squares."""
    out = np.zeros_like(y, dtype=np.float64)
    for test in folds:
        train = x[~test]
        alpha = penalty * ((train - train.mean(axis=0)) ** 2).sum()
        out[test] = Ridge(alpha=alpha).fit(train, y[~test]).predict(x[test])
    return out


@pytest.mark.parametrize(("m", "l"), [(0, 0), (1, 0), (1, 1), (0, 2)])
def test_ridge_maps_are_those_of_scikit_learn(setting, m, l):  # noqa: E741
    maps, folds = setting["maps"], setting["folds"]
    x, y = setting["new"][m], setting["tokens"][l].reshape(WINDOWS, -1).astype(np.float64)
    errors = [((held_out(x, y, folds, p) - y) ** 2).sum() for p in joint.PENALTIES]
    assert maps.penalty[m, l] == joint.PENALTIES[np.argmin(errors)]
    found = held_out(x, y, folds, maps.penalty[m, l])
    np.testing.assert_allclose(maps.smoothers[m, maps.chosen[m, l]] @ y, found, atol=1e-4)
    np.testing.assert_allclose(maps.error[m, l], ((found - y) ** 2).sum(axis=1), rtol=1e-6, atol=1e-9)
    mean = np.zeros_like(y)
    for test in folds:
        mean[test] = y[~test].mean(axis=0)
    expected = 1 - ((found - y) ** 2).sum() / ((mean - y) ** 2).sum()
    assert maps.r2[m, l] == pytest.approx(expected, abs=1e-8)


def test_a_layer_that_holds_the_target_explains_it():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((60, 2, 3))
    noise = rng.standard_normal((60, 9))
    copy = np.concatenate([target.reshape(60, -1), 0.01 * noise], axis=1)
    maps = joint.ridge_maps(
        stack([noise, copy])[0], joint.gram(target)[None], stratified_folds(np.arange(60) % 2)
    )
    assert maps.r2[1, 0] > 0.99
    assert maps.r2[0, 0] < 0.1


def test_first_order_is_the_directional_derivative(setting):
    maps, tokens = setting["maps"], setting["tokens"]
    found = joint.first_order_logits(
        setting["old"], setting["head"], maps, tokens, setting["logits"]
    )
    assert found.shape == (2, 3, WINDOWS, 2)
    for m, l in np.ndindex(2, 3):  # noqa: E741
        true = jnp.asarray(tokens[l])
        smoother = maps.smoothers[m, maps.chosen[m, l]]
        moved = jnp.asarray((smoother @ tokens[l].reshape(WINDOWS, -1)).reshape(true.shape)) - true
        graft = joint.Graft(setting["old"], setting["head"], l)
        value, change = jax.jvp(lambda t, graft=graft: graft(t)[1], (true,), (moved,))
        np.testing.assert_allclose(found[m, l], value + change, atol=2e-5)


def test_pushed_runs_the_suffix_on_the_predictions(setting):
    maps, tokens, last = setting["maps"], setting["tokens"], setting["last"]
    distance, logits = joint.pushed(setting["old"], setting["head"], maps, tokens, last)
    for m, l in ((0, 0), (1, 1), (1, 2)):  # noqa: E741
        smoother = maps.smoothers[m, maps.chosen[m, l]]
        predicted = (smoother @ tokens[l].reshape(WINDOWS, -1)).reshape(tokens[l].shape)
        reached, z = joint.Graft(setting["old"], setting["head"], l)(jnp.asarray(predicted))
        goal = tokens[2] if l == 2 else last
        np.testing.assert_allclose(logits[m, l], z, atol=1e-5)
        np.testing.assert_allclose(distance[m, l], losses.cosine(reached, jnp.asarray(goal)), atol=1e-5)


def test_bridges_trained_side_by_side_are_those_trained_alone(setting):
    """Not into the toy's head: A's gradient vanishes there, and Adam scales its rounding up."""
    l = 1  # noqa: E741
    settings = BridgeSettings(rank=2, num_prototypes=3, learning_rate=0.05)
    rows = np.random.default_rng(0).integers(0, 16, (6, 4))
    held, shape = np.arange(16, WINDOWS), setting["tokens"][l].shape[1:]
    goal = setting["last"]
    distance, logits = joint.train_bridges(
        setting["old"], setting["head"], l, setting["new"], goal, shape, rows, held, settings,
        steps=(2, 6), seed=4,
    )
    graft, optimizer = joint.Graft(setting["old"], setting["head"], l), optax.adam(0.05)
    for m, width in enumerate((5, 8)):
        pooled = jnp.asarray(setting["new"][m], jnp.float32)
        bridge = PrototypeBridge(width, *shape, rank=2, num_prototypes=3, rngs=nnx.Rngs(4))
        graph, state = nnx.split(bridge)
        opt_state = optimizer.init(state)

        def loss(state, rows, graph=graph, pooled=pooled):
            reached, _ = graft(nnx.merge(graph, state)(pooled[rows]))
            return losses.cosine(reached, jnp.asarray(goal)[rows]).mean()

        for step in rows:
            updates, opt_state = optimizer.update(jax.grad(loss)(state, step), opt_state)
            state = optax.apply_updates(state, updates)
        reached, z = graft(nnx.merge(graph, state)(pooled[held]))
        np.testing.assert_allclose(logits[1, m], z, atol=1e-4)
        expected = losses.cosine(reached, jnp.asarray(goal)[held])
        np.testing.assert_allclose(distance[1, m], expected, atol=1e-4)
        assert np.abs(distance[0, m] - distance[1, m]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_folds": np.ones((2, WINDOWS), bool)}, "held out once"),
        ({"grams": np.ones((1, 5, 5))}, "same paired windows"),
        ({"grams": np.full((1, WINDOWS, WINDOWS), np.nan)}, "NaN"),
        ({"grams": np.zeros((2, WINDOWS, WINDOWS))}, r"old layers \[0, 1\] are constant"),
        ({"penalties": [0.0]}, "positive"),
        ({"new": np.full((1, WINDOWS, 3), np.inf)}, "new features, layer 0"),
    ],
)
def test_bad_input(setting, change, message):
    arguments = {"new": stack(setting["new"])[0], "grams": setting["grams"],
                 "test_folds": setting["folds"]} | change  # fmt: skip
    with pytest.raises(InputError, match=message):
        joint.ridge_maps(**arguments)
