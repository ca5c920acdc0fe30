"""The AI4PAIN table on simulated files: every row, and a signal that tells beside one that does not."""

import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge import HeadSettings
from jaxbridge.data.published.ai4pain import Ai4Pain
from jaxbridge.data.published.simulated_ai4pain import write_ai4pain
from jaxbridge.fusion import FUSIONS
from jaxbridge.fusion.ai4pain import PUBLISHED, ai4pain_table, text
from jaxbridge.fusion.comparison import Parts, combinations, compare_fusions
from tests.jaxbridge.toy_pictures import ToyPictures


def test_combinations_from_single_ones_to_all():
    found = combinations(("eda", "bvp"), ("waveform", "scalogram"))
    singles = [(c.modalities, c.representations) for c in found if not c.fusion]
    assert len(singles) == 4 and singles[0] == (("eda",), ("waveform",))
    fused = [(c.modalities, c.fusion) for c in found if c.fusion]
    assert fused == [((m,), f) for m in ("eda", "bvp") for f in FUSIONS] + [
        (("eda", "bvp"), f) for f in FUSIONS
    ]
    assert len(combinations(("eda",), ("waveform",))) == 1


def test_rows_hold_means_over_seeds():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    embeddings = {
        ("eda", "waveform"): (labels[:, None] + 0.1 * rng.standard_normal((60, 3))).astype(np.float32),
        ("bvp", "waveform"): rng.standard_normal((60, 3)).astype(np.float32),
    }
    part = Parts(np.arange(30), np.arange(30, 40), np.arange(40, 60))
    eda, bvp, both = combinations(("eda", "bvp"), ("waveform",), ("gate",))
    head = HeadSettings(epochs=40, learning_rate=0.05)
    single, = compare_fusions(embeddings, labels, ("a", "b"), [eda], {0: part}, head)
    assert single["accuracy"] == 1.0 and single["trained_parameters"] == 3 * 2 + 2
    found, = compare_fusions(embeddings, labels, ("a", "b"), [both], {0: part, 1: part}, head)
    assert (found["modalities"], found["fusion"], found["seeds"]) == ("eda + bvp", "gate", 2)
    assert found["trained_parameters"] == 2 * (3 + 1) + 2 * (3 + 1) + 3 * 2 + 2
    assert found["accuracy"] > 0.8 and found["accuracy_std"] < 0.2
    with pytest.raises(mp.InputError, match="no embedding of resp as waveform"):
        compare_fusions(
            embeddings, labels, ("a", "b"), combinations(("resp",), ("waveform",)), {0: part},
            HeadSettings(),
        )


@pytest.mark.slow
def test_the_table_on_simulated_files(tmp_path):
    write_ai4pain(
        tmp_path / "data", {"train": 5, "validation": 2}, trials=4, baseline_s=37, seed=1
    )
    data = Ai4Pain(tmp_path / "data")
    rows = ai4pain_table(
        data, ToyPictures(rngs=nnx.Rngs(0)), tmp_path / "features", drawn_as=("waveform",),
        modalities=("eda", "spo2"), fusions=("gate",), held_out=0.25,
        head=HeadSettings(epochs=60, learning_rate=0.02),
    )
    own = [row for row in rows if row["source"] == "this run"]
    assert [(r["modalities"], r["fusion"]) for r in own] == [
        ("eda", ""), ("spo2", ""), ("eda + spo2", "gate")
    ]
    assert own[0]["accuracy"] > own[1]["accuracy"] and own[0]["accuracy"] > 0.6
    assert rows[len(own):] == list(PUBLISHED)
    table = text(rows).splitlines()
    assert len(table) == 2 + len(rows) and "82.41" in table[-1] and "arXiv 2507.21875" in table[-1]
    with pytest.raises(mp.InputError, match="'test' is not read"):
        ai4pain_table(data, ToyPictures(rngs=nnx.Rngs(0)), tmp_path, evaluated="test")
