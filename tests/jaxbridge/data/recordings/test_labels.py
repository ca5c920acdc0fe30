import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.contents import Interval
from jaxbridge.data.recordings.description import Labels, parse
from jaxbridge.data.recordings.edf import read_annotations
from jaxbridge.data.recordings.labels import window_classes
from jaxbridge.data.recordings.opening import open_file
from model_ports.errors import InputError
from tests.jaxbridge.data.recordings.edf_annotations import write_hypnogram
from tests.jaxbridge.data.recordings.small_files import describe, leads, write

_BASE = parse({
    "name": "x", "files": {"f": "{subject}.edf"},
    "modalities": {"eeg": {"leads": ["F3"], "encoder": "labram"}}, "windows": {"window_s": 10},
    "classes": ["wake", "sleep"],
    "labels": {"from": "annotations", "map": {"W": "wake", "N1": "sleep", "N2": "sleep"}},
}, "x.yaml")


def rule(**changes):
    return dataclasses.replace(_BASE, labels=dataclasses.replace(_BASE.labels, **changes))


def classes(intervals, starts, description=_BASE):
    found = [Interval(*interval) for interval in intervals]
    return window_classes(found, np.array(starts, float), 10.0, description, "night 1").tolist()


def test_window_takes_the_class_that_fills_it():
    stages = [(0, 20, "W"), (20, 15, "N1"), (35, 25, "N2")]
    assert classes(stages, [0, 10, 15, 20, 30, 50, 55]) == [0, 0, -1, 1, 1, 1, -1]
    assert classes(stages, [15, 14, 55], rule(min_share=0.6)) == [-1, 0, -1]
    # repeated and overlapping intervals of one class count once
    assert classes([(0, 6, "W"), (0, 6, "W"), (3, 3, "W")], [0], rule(min_share=0.7)) == [-1]


def test_label_without_a_class_and_ignored_ones():
    stages = [(0, 20, "W"), (20, 10, "Movement")]
    message = (r"night 1: label 'Movement' \(at 20 s\) has no class. Map it to one of wake, sleep in "
               r"labels\.map, or put it into labels\.ignore. The labels here are: 'W' x1, 'Movement'")
    with pytest.raises(InputError, match=message):
        classes(stages, [0])
    assert classes(stages, [0, 15, 20], rule(ignore=("Move*",))) == [0, -1, -1]


def test_two_classes_that_both_fill_a_window():
    with pytest.raises(InputError, match="wake and sleep both fill 0.5 of the window at 0 s"):
        classes([(0, 5, "W"), (5, 5, "N1")], [0], rule(min_share=0.5))


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from(["W", "N1", "N2"])),
             max_size=8),
    st.floats(0.51, 1.0),
)
def test_shares_as_counted_second_by_second(intervals, share):
    wake, sleep = np.zeros(100, bool), np.zeros(100, bool)
    for onset, duration, label in intervals:
        (wake if label == "W" else sleep)[onset : onset + duration] = True
    starts = np.arange(0, 60, 7)
    want = []
    for start in starts:
        enough = [part[start : start + 10].sum() >= 10 * share - 1e-6 for part in (wake, sleep)]
        want.append(-1 if not any(enough) else enough.index(True) if sum(enough) == 1 else None)
    if None in want:
        with pytest.raises(InputError, match="both fill"):
            classes(intervals, starts, rule(min_share=share))
    else:
        assert classes(intervals, starts, rule(min_share=share)) == want


LABELLED = """
classes: [rest, run]
labels: {SOURCE, map: {r: rest, "1": run}}
"""


def study(folder, kind, source, more=None):
    write(folder, kind, leads())
    path = describe(folder / "study.yaml", kind, head=LABELLED.replace("SOURCE", source))
    if more:
        path.write_text(path.read_text().replace("files: {", f"files: {{{more}, ")
                        .replace("{leads:", "{file: all, leads:"))
    return Recordings.from_yaml(path)


def test_table_of_intervals_for_many_recordings(tmp_path):
    (tmp_path / "marks.tsv").write_text(
        "subject\tonset\tduration\tlabel\nP02\t0\t40\tr\nP01\t0\t12.5\tr\nP01\t15\t25\t1\n")
    data = study(tmp_path, "npz", "from: intervals, file: marks", 'marks: "marks.tsv"')
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 15, 20, 25, 30])
    assert batch.labels.tolist() == [0, 1, 1, 1, 1]
    assert batch.notes["dropped_without_class"] == 2
    assert data.sources_of("P01") == ("P01.npz", "marks.tsv")
    (tmp_path / "marks.tsv").write_text("subject\tonset\tduration\tlabel\nP02\t0\t40\tr\n")
    with pytest.raises(InputError, match=r"marks\.tsv has no row for recording 'P01'"):
        data.windows("P01")
    (tmp_path / "marks.tsv").write_text("onset\tduration\tlabel\n0\t\tr\n")
    with pytest.raises(InputError, match=r"marks\.tsv: row 0 of the data has no onset, duration"):
        data.windows("P01")
    (tmp_path / "marks.tsv").write_text("onset\tlabel\n0\tr\n")
    with pytest.raises(InputError, match=r"marks\.tsv has no column 'duration'"):
        data.windows("P01")


@pytest.mark.parametrize("title", ["Subject", " SUBJECT ", "Recording"])
def test_table_of_intervals_with_titles_in_capitals(tmp_path, title):
    """Unheeded, each recording would have the labels of all."""
    data = study(tmp_path, "npz", "from: intervals, file: marks", 'marks: "marks.csv"')
    (tmp_path / "P01.npz").rename(tmp_path / "007.npz")
    (tmp_path / "marks.csv").write_text(
        f"{title},onset,duration,label\n007,0,20,r\n008,20,20,1\n")
    assert data.windows("007").labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["001", "1E2", "12"])
def test_table_of_intervals_of_subjects_whose_names_are_numbers(tmp_path, name):
    data = study(tmp_path, "npz", "from: intervals, file: marks", 'marks: "marks.csv"')
    (tmp_path / "P01.npz").rename(tmp_path / f"{name}.npz")
    # An empty cell makes numbers of a column decimal ones.
    (tmp_path / "marks.csv").write_text(
        f"onset, duration, label, subject\n0,20,r,{name}\n20,20,1, {name}\n0,40,1,2\n0,40,1,\n")
    batch = data.windows(name)
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 20, 25, 30])
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_bracketed_label_is_ignored_by_its_own_name():
    stages = [(0, 20, "W"), (20, 10, "[note]"), (30, 5, "A1"), (35, 5, "A3")]
    assert classes(stages, [0, 20], rule(ignore=("[note]", "A[1-3]"))) == [0, -1]


def test_array_with_a_label_per_sample(tmp_path):
    states = np.repeat([1.0, 7.0], 4000)
    data = study(tmp_path, "npz", "from: column, column: state, ignore: ['7']")
    np.savez(tmp_path / "P01.npz", fs=200.0, state=states, **leads())
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10])
    assert set(batch.labels) == {1}
    np.savez(tmp_path / "P01.npz", fs=200.0, state=states[:-1], **leads())
    with pytest.raises(InputError, match="'state' has 7999 labels, the signals have 8000 samples"):
        data.windows("P01")
    write(tmp_path, "npz", leads())
    with pytest.raises(InputError, match=r"no one-dimensional array 'state'. It has: II, PLETH"):
        data.windows("P01")


def test_column_of_text_labels(tmp_path):
    data = study(tmp_path, "csv", "from: column, column: state")
    signals = leads()
    states = np.where(np.arange(8000) < 4400, "r", "1")
    rows = zip(signals["II"], signals["PLETH"], states, strict=True)
    text = "\n".join(f"{a:.6g},{b:.6g},{c}" for a, b, c in rows)
    (tmp_path / "P01.csv").write_text(f"II,PLETH,state\n{text}\n")
    batch = data.windows("P01")  # the change is at 22 s
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 25, 30])
    assert batch.labels.tolist() == [0, 0, 0, 1, 1]


def test_hypnogram_that_starts_before_the_recording(tmp_path):
    data = study(tmp_path, "edf", "from: hypnogram, file: stages", 'stages: "{subject}-h.edf"')
    # The signals start at 00:00:00, the hypnogram 25 s earlier.
    write_hypnogram(tmp_path / "P01-h.edf", [(0, 40, "r"), (40, 100, "1")],
                    date="31.12.19", time="23.59.35")
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 15, 20, 25, 30])
    assert batch.labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_edf_that_begins_within_a_second(tmp_path):
    """The header of EDF+ has whole seconds; the rest is the onset of its first record."""
    data = study(tmp_path, "edf", "from: hypnogram, file: stages", 'stages: "{subject}-h.edf"')
    stages = [(0.75, 20, "r"), (20.75, 100, "1")]
    write_hypnogram(tmp_path / "P01.edf", [(0.75, 1, "x")], signals=leads(), begins="0.75")
    write_hypnogram(tmp_path / "P01-h.edf", stages, begins="0.25")
    recording = open_file(tmp_path / "P01.edf")
    assert recording.start.seconds % 60 == 0.75
    assert recording.annotations == (Interval(0, 1, "x"),)
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 20, 25, 30])
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_annotations_in_the_file_itself(tmp_path):
    data = study(tmp_path, "edf", "from: annotations, duration_s: next, ignore: ['Record*']")
    write_hypnogram(tmp_path / "P01.edf", [(0, 0, "r"), (20, 0, "1")], signals=leads())
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 20, 25, 30])
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]
    never = study(tmp_path, "edf", "from: annotations")
    write_hypnogram(tmp_path / "P01.edf", [(0, 0, "r"), (20, 0, "1")], signals=leads())
    with pytest.raises(InputError, match=r"have no duration. State labels\.duration_s"):
        never.windows("P01")


@pytest.mark.parametrize("signals", [leads(), None])
def test_annotation_text_in_utf8_and_latin1(tmp_path, signals):
    path = tmp_path / "P01.edf"
    write_hypnogram(path, [(0, 5, "W\u00e4rme"), (5.25, 5, "Kaelte")], signals=signals)
    path.write_bytes(path.read_bytes().replace(b"Kaelte", b"K\xe4lte "))  # as many a device has it
    found = read_annotations(path)[0] if signals is None else open_file(path).annotations
    assert found == (Interval(0, 5, "W\u00e4rme"), Interval(5.25, 5, "K\u00e4lte "))


def test_hypnogram_beside_signals_whose_bytes_look_like_annotations(tmp_path):
    path = tmp_path / "P01-h.EDF"  # as some devices name their files
    stages = [(0.25, 30, "W"), (30.25, 30, "N1")]
    signals = leads()
    write_hypnogram(path, stages, signals=signals)
    content = path.read_bytes()
    path.write_bytes(content[:1024] + b"+7\x15009\x14REM\x14\0" + content[1036:])
    assert read_annotations(path)[0] == tuple(Interval(*stage) for stage in stages)
    write_hypnogram(path, stages)
    assert read_annotations(path)[0] == tuple(Interval(*stage) for stage in stages)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"P01-h\.EDF cannot be read as EDF.*: cut off, its header"):
        read_annotations(path)


def test_annotations_of_a_record(tmp_path):
    import wfdb

    data = study(tmp_path, "wfdb", "from: wfdb, annotator: st, min_share: 0.99")
    wfdb.wrann("P01", "st", np.array([1, 4000]), symbol=['"', '"'], aux_note=["r", "1"], fs=200,
               write_dir=str(tmp_path))
    batch = data.windows("P01")
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 20, 25, 30])
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "P01.st").unlink()
    with pytest.raises(InputError, match=r"P01\.st does not exist"):
        data.windows("P01")


def test_no_labels_is_one_class_of_pairs(tmp_path):
    write(tmp_path, "npz", leads())
    data = Recordings.from_yaml(describe(tmp_path / "study.yaml", "npz"))
    assert data.description.labels == Labels()
    assert data.metadata["labels"] == "none: unlabelled pairs"
    assert data.windows("P01").labels.tolist() == [0] * 7
