"""The bridge follows the paper's formula, in both layouts."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge.bridge import PrototypeBridge, num_parameters
from model_ports.errors import InputError
from tests import recipe
from tests.golden import Golden, relative_error


def _reference_state_dict() -> dict[str, np.ndarray]:
    return {
        "A": recipe.tensor("A", (8, 512)),
        "B": np.float32(0.1) * recipe.tensor("B", (3620, 8)),
        "prototypes": recipe.tensor("P", (200, 20)),
    }


@pytest.mark.parametrize(
    ("folder", "layout"),
    [("bridge_paper_layout", "paper"), ("bridge_labram_from_hubert", "reinterpret")],
)
def test_output_equals_the_reference(folder, layout):
    golden = Golden(folder).arrays
    bridge = PrototypeBridge.from_reference(_reference_state_dict(), layout=layout)
    out = bridge(jnp.asarray(golden["bridge_input"]))
    assert relative_error(out[0, :8, :16], golden["bridge_output_corner"]) < 1e-5


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 5), seed=st.integers(0, 2**16),
    layout=st.sampled_from(["paper", "reinterpret"]),
)
def test_formula_written_out(sizes, seed, layout):
    in_features, tokens, features, rank, prototypes = sizes
    bridge = PrototypeBridge(
        in_features, tokens, features, rank=rank, num_prototypes=prototypes,
        rngs=nnx.Rngs(seed), layout=layout,
    )
    rng = np.random.default_rng(seed)
    bridge.low_rank_b.set_value(jnp.asarray(rng.standard_normal(bridge.low_rank_b.shape)))
    a, b, p = (np.asarray(x[...]) for x in
               (bridge.low_rank_a, bridge.low_rank_b, bridge.prototypes))
    z = rng.standard_normal((3, in_features)).astype(np.float32)
    want = np.zeros((3, tokens, features))
    for n in range(3):
        for t in range(tokens):
            for k in range(prototypes):
                want[n, t] += (z[n] @ a @ b[:, t * prototypes + k]) * p[k]
    if layout == "reinterpret":
        want = np.stack([w.T.reshape(tokens, features) for w in want])
    np.testing.assert_allclose(bridge(z), want, rtol=1e-4, atol=1e-4)
    count = rank * in_features + rank * tokens * prototypes + prototypes * features
    assert num_parameters(bridge) == count


@pytest.mark.parametrize(
    ("rank", "in_features", "prototypes", "tokens", "features", "parameters"),
    [
        (32, 512, 50, 235, 128, 398_784), (8, 64, 150, 93, 512, 188_912),
        (32, 512, 300, 181, 200, 1_813_984), (4, 200, 200, 46, 512, 140_000),
        (256, 768, 200, 19, 200, 1_209_408), (8, 200, 50, 1680, 768, 712_000),
    ],
)
def test_published_sizes(rank, in_features, prototypes, tokens, features, parameters):
    bridge = nnx.eval_shape(lambda: PrototypeBridge(
        in_features, tokens, features, rank=rank, num_prototypes=prototypes, rngs=nnx.Rngs(0)
    ))
    assert num_parameters(bridge) == parameters


def test_initial_values_are_the_reference_ones():
    bridge = PrototypeBridge(400, 3, 50, rank=30, num_prototypes=200, rngs=nnx.Rngs(0))
    a = np.asarray(bridge.low_rank_a[...])
    assert np.abs(a).max() <= 1 / 20
    assert a.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    assert not np.any(bridge.low_rank_b[...])
    assert np.asarray(bridge.prototypes[...]).std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("change", [
    {"rank": 0}, {"num_prototypes": 0}, {"layout": "sideways"}, {"prototypes": jnp.zeros((3, 2))},
])
def test_bad_sizes_are_refused(change):
    arguments = {"rank": 2, "num_prototypes": 2, "rngs": nnx.Rngs(0), **change}
    with pytest.raises(InputError):
        PrototypeBridge(4, 3, 2, **arguments)


def test_foreign_state_dict_is_refused():
    state = _reference_state_dict()
    with pytest.raises(InputError, match="lacks B"):
        PrototypeBridge.from_reference({k: v for k, v in state.items() if k != "B"})
    with pytest.raises(InputError, match="do not fit together"):
        PrototypeBridge.from_reference({**state, "B": state["B"][:-1]})
