"""What studies run on: which modality teaches and which learns."""

import pathlib
import subprocess
import sys

import pytest

from launch.studies.setups import DIRECTIONS, miniature, simulated
from tests.jaxbridge.data.recordings.small_files import leads, write

_ROOT = pathlib.Path(__file__).parents[3]
_DESCRIPTION = """
name: night watch
files: {all: {pattern: "{subject}_{part}.npz", rate_from: fs}}
modalities:
  eeg: {leads: {O1: PLETH, F3: II}, encoder: labram, unit: uV}
  ecg: {leads: [II], encoder: hubert_ecg_small, unit: mV}
windows: {window_s: 5, step_s: 5}
classes: [rest, work]
labels: {from: field, field: part}
"""
_RECORDED = """
import sys
from absl import flags
from launch.studies.setups import recorded
for step in (5, 10):
    description = open(sys.argv[1]).read().replace("step_s: 5", f"step_s: {step}")
    open(sys.argv[1], "w").write(description)
    for skipped in ("", "--skip=P0_rest"):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["script", "--data=" + sys.argv[1], *filter(None, [skipped])])
        found = recorded(3)
        leads = found.encoders(0, "")[0].config.leads
        print(found.dataset, *leads, found.about["recordings_hash"], sep=" | ")
"""


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


def test_pretrainings_are_told_apart(tmp_path):
    names = [simulated(direction, tmp_path, n).dataset for direction in DIRECTIONS for n in range(3)]
    assert len(set(names)) == 6
    assert names[0] == "simulation, pretrained encoders"
    assert names[-1] == "simulation, pretrained encoders, pretraining 2, ecg2eeg"


def test_described_recordings_give_their_name_and_leads_and_are_told_from_others(tmp_path):
    for part, seed in (("rest", 0), ("work", 1)):
        write(tmp_path, "npz", leads(10, seed=seed), f"P0_{part}")
    (tmp_path / "own.yaml").write_text(_DESCRIPTION)
    done = subprocess.run(
        [sys.executable, "-c", _RECORDED, str(tmp_path / "own.yaml")], cwd=_ROOT, capture_output=True,
        text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split(" | ") for line in done.stdout.splitlines()]
    assert [line[:3] for line in found] == [["night watch", "O1", "F3"]] * 4
    assert len({line[3] for line in found}) == 4
