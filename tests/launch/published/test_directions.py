"""The published directions: their sizes, without a weight being made."""

import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.bridge import num_parameters
from launch.published.directions import DIRECTIONS, direction, untrained_bridge
from model_ports.errors import InputError


# r * d_new + r * tokens * prototypes + prototypes * d_old; the paper rounds them to 0.4, 1.8, 1.2 M.
@pytest.mark.parametrize(("name", "parameters"), [
    ("wesad_ppg2ecg", 398_784),
    ("wesad_ecg2ppg", 188_912),
    ("isruc_eeg2ecg", 1_813_984),
    ("isruc_ecg2eeg", 140_000),
    ("fog_eeg2emg", 1_209_408),
    ("fog_emg2eeg", 712_000),
])
@pytest.mark.slow
def test_trainable_parameters_are_the_published_ones(name, parameters):
    found = DIRECTIONS[name]
    old, new = mp.abstract(found.old), mp.abstract(found.new)
    bridge = nnx.eval_shape(lambda: untrained_bridge(found, old, new, seed=0))
    assert num_parameters(bridge) == parameters


def test_only_the_reference_s_unfrozen_papagei_has_dropout():
    # train_bridge.py puts the encoder in training mode only if it is unfrozen, and NormWear has none.
    rates = {name: found.head.dropout for name, found in DIRECTIONS.items()}
    assert {name for name, rate in rates.items() if rate} == {"wesad_ppg2ecg"}
    assert rates["wesad_ppg2ecg"] == 0.5


def test_an_unknown_direction_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="ecg2emg.*wesad_ppg2ecg"):
        direction("ecg2emg")
