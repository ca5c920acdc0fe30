"""Pretraining on several sets helps on one that it did not see."""

import pytest

from tests.jaxbridge.pretraining.factors import STATE
from tests.jaxbridge.pretraining.unseen_task import compare


@pytest.mark.slow
def test_a_probe_on_the_pretrained_encoder_beats_one_on_the_random_encoder():
    found = compare(STATE, seed=0)
    assert found["pretrained"] > found["random"] + 0.03, found
    assert found["rate"] > 0.85 and found["shape"] > 0.9 and found["noise"] > 0.85, found
