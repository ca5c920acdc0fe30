"""The ridge start is the best linear map of the bridge's form: scikit-learn and NumPy as oracles."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.linear_model import Ridge

from jaxbridge.bridge import PrototypeBridge
from jaxbridge.training.bridging import BridgeSettings
from jaxbridge.training.closed_form import PENALTIES, closed_form
from model_ports.errors import InputError

_TOKENS, _FEATURES, _WIDTH = 3, 6, 5
_RNG = np.random.default_rng(0)
_Z = {"pair": _RNG.standard_normal((40, _WIDTH)) + 2, "val": _RNG.standard_normal((15, _WIDTH)) + 2}
_MAP = _RNG.standard_normal((_WIDTH, _TOKENS * _FEATURES))
_Y = {
    split: (z @ _MAP + 2 * _RNG.standard_normal((len(z), _MAP.shape[1]))).reshape(
        -1, _TOKENS, _FEATURES
    ).astype(np.float32)
    for split, z in _Z.items()
}


def _tokens(split, rows):
    for start in range(0, len(rows), 7):
        yield _Y[split][rows[start : start + 7]]


def _bridge(rank=_WIDTH, count=_FEATURES, layout="paper"):
    return PrototypeBridge(
        _WIDTH, _TOKENS, _FEATURES, rank=rank, num_prototypes=count, layout=layout,
        rngs=nnx.Rngs(0),
    )


def _said(bridge, split="val"):
    return np.asarray(bridge(jnp.asarray(_Z[split], jnp.float32)))


def _penalty(relative):
    return relative * _Z["pair"].var(axis=0).sum() * len(_Z["pair"])


def test_with_all_ranks_and_prototypes_it_is_scikit_learns_ridge():
    bridge, penalty = closed_form(_bridge(), _Z, _tokens)
    errors = {}
    for relative in PENALTIES:
        ridge = Ridge(alpha=_penalty(relative), fit_intercept=False)
        ridge.fit(_Z["pair"], _Y["pair"].reshape(len(_Y["pair"]), -1))
        said = ridge.predict(_Z["val"]).reshape(_Y["val"].shape)
        errors[relative] = np.sum((said - _Y["val"]) ** 2), said
    assert penalty == min(errors, key=lambda relative: errors[relative][0])
    np.testing.assert_allclose(_said(bridge), errors[penalty][1], rtol=1e-4, atol=1e-4)


def test_a_lower_rank_is_the_best_map_of_that_rank():
    """Eckart-Young on the problem with the penalty as further rows: its fitted values, truncated."""
    bridge, _ = closed_form(_bridge(rank=2), _Z, _tokens, penalties=(0.03,))
    flat = _Y["pair"].reshape(len(_Y["pair"]), -1).astype(np.float64)
    z = np.concatenate([_Z["pair"], _penalty(0.03) ** 0.5 * np.eye(_WIDTH)])
    flat = np.concatenate([flat, np.zeros((_WIDTH, flat.shape[1]))])
    map_ = np.linalg.lstsq(z, flat, rcond=None)[0]
    _, _, right = np.linalg.svd(z @ map_, full_matrices=False)
    best = _Z["val"] @ map_ @ right[:2].T @ right[:2]
    np.testing.assert_allclose(_said(bridge).reshape(len(best), -1), best, rtol=1e-4, atol=1e-4)


def test_few_prototypes_hold_the_most_of_the_tokens():
    """With a target that two vectors span, two prototypes lose nothing."""
    plane = _RNG.standard_normal((2, _FEATURES)).astype(np.float32)
    flat = {split: (y[..., :2] @ plane) for split, y in _Y.items()}

    def tokens(split, rows):
        yield flat[split][rows]

    two, _ = closed_form(_bridge(count=2), _Z, tokens, penalties=(1e-3,))
    all_, _ = closed_form(_bridge(), _Z, tokens, penalties=(1e-3,))
    np.testing.assert_allclose(_said(two), _said(all_), rtol=1e-3, atol=1e-3)


def test_the_authors_layout_says_the_same():
    paper, _ = closed_form(_bridge(), _Z, _tokens)
    scrambled, _ = closed_form(_bridge(layout="reinterpret"), _Z, _tokens)
    # six prototypes span everything in either reading
    np.testing.assert_allclose(_said(scrambled), _said(paper), rtol=1e-4, atol=1e-4)


def test_sizes_are_those_of_a_random_start_and_what_is_left_over_can_learn():
    untrained = _bridge(rank=_WIDTH + 2, count=_FEATURES + 3)
    bridge, _ = closed_form(untrained, _Z, _tokens)
    np.testing.assert_allclose(
        np.linalg.norm(bridge.low_rank_a[...][:, :_WIDTH], axis=0), (1 / 3) ** 0.5, rtol=1e-5
    )
    np.testing.assert_allclose(
        np.linalg.norm(bridge.prototypes[...][:_FEATURES], axis=1), _FEATURES**0.5, rtol=1e-5
    )
    for parameter, rows in (("low_rank_a", np.s_[:, _WIDTH:]), ("prototypes", np.s_[_FEATURES:])):
        left_over = getattr(bridge, parameter)[...][rows]
        np.testing.assert_array_equal(left_over, getattr(untrained, parameter)[...][rows])
        assert np.abs(left_over).min() > 0
    np.testing.assert_allclose(_said(bridge), _said(closed_form(_bridge(), _Z, _tokens)[0]), rtol=1e-3)
    assert not np.asarray(untrained.low_rank_b[...]).any()  # what was given stays as it is


def test_signs_do_not_hang_on_rounding():
    """Processes sum in another order; eigenvectors may then come out the other way round."""

    def rounded(split, rows):
        noise = np.random.default_rng(len(rows)).standard_normal(_Y[split][rows].shape)
        yield _Y[split][rows] * (1 + 1e-7 * noise).astype(np.float32)

    once, again = (closed_form(_bridge(rank=3, count=4), _Z, read)[0] for read in (_tokens, rounded))
    for name in ("low_rank_a", "low_rank_b", "prototypes"):
        found, wanted = (np.asarray(getattr(bridge, name)[...]) for bridge in (once, again))
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    for factor in (once.low_rank_a[...], once.prototypes[...].T):
        assert (factor.max(axis=0) == np.abs(factor).max(axis=0)).all()


def test_one_constant_feature_vector_gives_the_mean():
    z = {split: np.ones((len(values), _WIDTH)) for split, values in _Z.items()}
    bridge, _ = closed_form(_bridge(), z, _tokens, penalties=(1e-6,))
    said = np.asarray(bridge(jnp.ones((1, _WIDTH))))[0]
    np.testing.assert_allclose(said, _Y["pair"].mean(axis=0), rtol=1e-3, atol=1e-3)


def test_tokens_that_are_not_finite_are_refused():
    def tokens(split, rows):
        yield np.full((len(rows), _TOKENS, _FEATURES), np.inf, np.float32)

    with pytest.raises(InputError, match="tokens are not finite"):
        closed_form(_bridge(), _Z, tokens)


def test_it_brings_its_own_prototypes():
    with pytest.raises(InputError, match="brings its own prototypes"):
        BridgeSettings(start="ridge", prototypes="real")
