import numpy as np
import pytest

from jaxbridge.data.epoch_filter import filtered_epochs
from jaxbridge.data.published.encoder_input import published_recipe
from jaxbridge.data.recipes import filtered
from model_ports.errors import InputError


@pytest.mark.parametrize("encoder", ["hubert_ecg_small", "ecg_fm", "ecg_dualnet", "normwear"])
@pytest.mark.parametrize(("samples", "rate_hz"), [(6000, 200.0), (250, 200.0), (3001, 250.0)])
def test_as_filtered_one_by_one(encoder, samples, rate_hz):
    recipe = published_recipe(encoder)
    assert recipe.is_local
    epochs = 100 + np.random.default_rng(0).normal(size=(5, samples)).cumsum(axis=1)
    wanted = filtered(epochs, rate_hz, recipe, "x")
    for order in ("C", "F"):
        got = filtered_epochs(np.array(epochs, order=order), rate_hz, recipe, "x")
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


def test_what_acts_on_the_whole_signal_is_not_local():
    assert not published_recipe("papagei").is_local


def test_epochs_too_short_for_the_filter_are_refused():
    with pytest.raises(InputError, match=r"night: 100 .* too short"):
        filtered_epochs(np.zeros((2, 40)), 200.0, published_recipe("hubert_ecg_small"), "night")
