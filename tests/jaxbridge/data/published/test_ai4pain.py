"""AI4PAIN's layout on simulated files: windows, labels, partitions, refusals."""

import pickle

import numpy as np
import pytest

import model_ports as mp
from jaxbridge.data.published.ai4pain import MODALITIES, Ai4Pain
from jaxbridge.data.published.simulated_ai4pain import write_ai4pain


@pytest.fixture
def folder(tmp_path):
    write_ai4pain(tmp_path, {"train": 2, "validation": 1, "test": 1}, trials=2, baseline_s=28)
    return tmp_path


def lines(folder, name="train/Eda/1.csv"):
    path = folder / name
    return path, path.read_text().splitlines()


def test_windows_and_labels(folder):
    data = Ai4Pain(folder)
    assert data.recordings == {"train/1": "1", "train/2": "2", "validation/3": "3"}
    batch = data.windows("train/2")
    assert {name: array.shape for name, array in batch.arrays.items()} == {
        name: (7, 1, 900) for name in MODALITIES
    }
    assert sorted(batch.labels) == [0, 0, 0, 1, 1, 2, 2]
    _, text = lines(folder, "train/Bvp/2.csv")
    names, first = text[0].split(","), text[1].split(",")
    for i, name in enumerate(n for n in names if "LOW" in n or "HIGH" in n):
        window, label = batch.arrays["bvp"][3 + i, 0], batch.labels[3 + i]
        column = names.index(name)
        wanted = [float(row.split(",")[column]) for row in text[1:901]]
        np.testing.assert_array_equal(window, wanted)
        assert label == (1 if "LOW" in name else 2) and float(first[column]) == window[0]
    baseline = [float(row.split(",")[0]) for row in text[901:1801]]
    np.testing.assert_array_equal(batch.arrays["bvp"][1, 0], baseline)


def test_rests_count_as_no_pain_where_asked_for(folder):
    labels = Ai4Pain(folder, no_pain=("BASELINE", "REST")).windows("train/1").labels
    assert np.bincount(labels).tolist() == [3 + 3, 2, 2]
    assert np.bincount(Ai4Pain(folder, no_pain=("REST",)).windows("train/1").labels)[0] == 3


def test_metadata_names_every_file_and_the_object_goes_to_a_worker(folder):
    data = pickle.loads(pickle.dumps(Ai4Pain(folder, window_s=8)))
    assert len(data.metadata["sources"]) == 3 * 4
    assert set(data.sources_of("validation/3")) <= set(data.metadata["sources"])
    assert data.metadata["class_names"] == ["no pain", "low pain", "high pain"]
    assert data.check() == ["train has 2 of 41 subjects", "validation has 1 of 12 subjects"]


def test_unlabelled_test_subjects_are_refused(folder):
    with pytest.raises(mp.InputError, match="'4_1' states no condition.*leave partition 'test'"):
        Ai4Pain(folder, ("test",)).windows("test/4")


def test_what_does_not_fit_the_layout_is_refused(folder):
    with pytest.raises(mp.InputError, match="(?s)no folder.*AI4PAIN 2025: https"):
        _ = Ai4Pain(folder / "nowhere").recordings
    with pytest.raises(mp.InputError, match="'arm'|train, validation, test"):
        Ai4Pain(folder, ("arm",))
    with pytest.raises(mp.InputError, match="BASELINE, REST or both"):
        Ai4Pain(folder, no_pain=("LOW",))
    with pytest.raises(mp.InputError, match="too few for a window of 12 s"):
        Ai4Pain(folder, window_s=12).windows("train/1")
    path, text = lines(folder)
    kept = "\n".join(text)
    for changed, message in (
        (kept.replace("1_LOW_1", "1_WARM_1", 1), "'1_WARM_1' states no condition"),
        (kept.replace("1_LOW_1", "2_LOW_1", 1), "is not of subject 1"),
        (kept.replace("1_LOW_1", "1_LOW_7", 1), "other trials than"),
        ("\n".join([*text[:50], "," + text[50].partition(",")[2], *text[51:]]),
         "'1_Baseline_1' has 1 NaN .* sample 49"),
        ("\n".join([*text[:9], "1,2", *text[9:]]), "cannot be read"),
        (text[0], "column names and"),
    ):
        path.write_text(changed + "\n")
        with pytest.raises(mp.InputError, match=message):
            Ai4Pain(folder).windows("train/1")
    path.unlink()
    with pytest.raises(mp.InputError, match=r"Eda has no 1\.csv"):
        _ = Ai4Pain(folder).recordings
