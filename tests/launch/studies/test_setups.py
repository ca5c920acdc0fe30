"""What studies run on: which modality teaches and which learns."""

import pytest

from launch.studies.setups import DIRECTIONS, miniature, simulated


@pytest.mark.parametrize("setup", [simulated, miniature])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_direction_says_who_teaches_whom(setup, direction):
    found = setup(direction)
    old, new = direction.split("2")
    assert (found.settings.old_modality, found.settings.new_modality) == (old, new)
    reads = {"eeg": "labram", "ecg": "hubert_ecg_small"}
    assert [e.config.name for e in found.encoders(0, "")] == [reads[old], reads[new]]
    # sizes are HuBERT-ECG's
    assert bool(found.sizes) == (new == "ecg")


def test_directions_are_told_apart():
    assert simulated("eeg2ecg").dataset != simulated("ecg2eeg").dataset
