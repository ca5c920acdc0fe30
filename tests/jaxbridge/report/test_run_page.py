"""The page of a run: everything is there, is right, and may be missing."""

import json
import shutil

import numpy as np
import pytest

from jaxbridge.bridge import num_parameters
from jaxbridge.methods.cost import count_parameters
from jaxbridge.report import run_page
from jaxbridge.statistics.calibration import calibration
from jaxbridge.statistics.intervals import intervals
from jaxbridge.statistics.predictions import Predictions
from model_ports.errors import InputError
from tests.jaxbridge import tiny
from tests.jaxbridge.report.parsed import check_page
from tests.jaxbridge.report.toy_run import POSITION, write_run

_SECTIONS = [
    "What was transferred", "Results", "Where the bridge goes", "Training", "Confusion matrices",
    "Example windows", "Calibration and abstention", "Parameters and cost", "Provenance",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = tmp_path_factory.mktemp("toy") / "run"
    model, logits = write_run(run)
    return run, model, logits


@pytest.fixture(scope="module")
def page(made):
    return check_page(run_page.write(made[0]).read_text(encoding="utf-8"))


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made[0].parent, tmp_path / "copy")
    return tmp_path / "copy" / "run"


def test_all_sections_are_there(page):
    assert page.headings == _SECTIONS


def test_scores_are_those_of_the_metrics(made, page):
    run, _, logits = made
    rows = json.loads((run / "report" / "metrics.json").read_text())
    shown = page.column("Test windows", "balanced accuracy")
    test = {row["method"]: row for row in rows if row["split"] == "test"}
    assert shown.keys() == test.keys()
    for method, row in test.items():
        assert shown[method].split(" ")[0] == f"{row['balanced_accuracy']:.3f}"
        assert page.column("Test windows", "trained parameters")[method] == (
            f"{row['trainable_parameters']:,}"
        )
    windows = tiny.windows()
    chosen = windows.indices("test")
    subjects = np.array([f"S{i % 5}" for i in chosen])
    found = intervals([Predictions(logits["bridge"], windows.labels[chosen], subjects)])
    value, low, high = found["balanced_accuracy"]
    assert shown["bridge"] == f"{value:.3f} ({low:.3f} to {high:.3f})"
    table = page.table("bridge, balanced accuracy")
    counts = [[int(cell.split(" ")[1]) for cell in line[1:]] for line in table[1:]]
    assert counts == test["bridge"]["confusion"]


def test_calibration_is_that_of_the_logits(made, page):
    windows = tiny.windows()
    labels = windows.labels[windows.indices("test")]
    for method, logits in made[2].items():
        found = Predictions(logits, labels, np.full(len(labels), "x"))
        ece = calibration(found.probabilities, labels).ece
        assert page.column("Calibration error", "ECE")[method] == f"{ece:.3f}"


def test_splits_and_parameters(made, page):
    model = made[1]
    assert page.column("Subjects and windows", "windows")["test"] == "20"
    assert page.column("Subjects and windows", "of fast")["validation"] == "10"
    assert page.column("Subjects and windows", "subjects")["test"] == "5"
    parameters = page.column("Parameters", "parameters")
    assert parameters["bridge"] == f"{num_parameters(model.bridge):,}"
    shape = (1, *tiny.windows().shape("ecg"))
    _, others = count_parameters(model, shape, lambda path: path.startswith("suffix.bridge"))
    assert parameters["read by a prediction, without the bridge"] == f"{others:,}"
    # Layers before the old position and behind the new one are not run.
    assert others < num_parameters(model) - num_parameters(model.bridge)


def test_weights_and_command_are_told_and_escaped(page):
    weights = page.table("The two sides")[3]
    assert weights == ["weights", "random weights, nothing pretrained", "weights/<new>"]
    assert "python -m launch.transfer --out='a b'" in page.text


def test_the_stored_example_windows_are_pair_windows_of_their_class(made):
    windows = tiny.windows()
    pair = windows.indices("pair")
    with np.load(made[0] / "report" / "examples.npz") as arrays:
        for label in (0, 1):
            there = [
                i for i in pair if windows.labels[i] == label
                and all(np.array_equal(windows.read(m, [i])[0], arrays[f"{label}/{m}"])
                        for m in ("eeg", "ecg"))
            ]
            assert len(there) == 1


@pytest.mark.parametrize(("gone", "sections"), [
    (["scan"], ["Where the bridge goes"]),
    (["teacher"], []),
    (["report/examples.npz"], ["Example windows"]),
    (["report/test.npz"], ["Calibration and abstention"]),
    (["report", "controls"], ["Results", "Confusion matrices", "Example windows",
                              "Calibration and abstention"]),
    (["scan", "report", "controls", "teacher", "bridge", "features", "../flags.json",
      "../command.json"],
     ["Where the bridge goes", "Results", "Confusion matrices", "Example windows", "Training",
      "Calibration and abstention", "Parameters and cost"]),
])
def test_what_a_run_has_not_made_is_left_out(copy, gone, sections):
    for name in gone:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert found.headings == [name for name in _SECTIONS if name not in sections]


def test_a_given_position_is_said_to_be_given(copy):
    record = json.loads((copy / "run.json").read_text())
    record["settings"]["position"] = list(POSITION)
    (copy / "run.json").write_text(json.dumps(record))
    shutil.rmtree(copy / "scan")
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert "output of new layer 1 and writes the input of old layer 2 (given)" in found.text


@pytest.mark.parametrize(("unfrozen", "weights", "came"), [
    (False, "random weights, nothing pretrained", "the head came fitted to labels"),
    (True, "random weights, nothing pretrained; trained with the given head",
     "the head and the old encoder came fitted to labels"),
])
def test_a_given_head_is_no_work_of_this_run(copy, unfrozen, weights, came):
    record = json.loads((copy / "run.json").read_text())
    record["settings"]["given_head"] = "0123"
    record["settings"]["head"]["unfrozen"] = unfrozen
    (copy / "run.json").write_text(json.dumps(record))
    shutil.rmtree(copy / "teacher")
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert found.table("The two sides")[3][1] == weights
    assert came in found.text and "the teacher's stage before trained" not in found.text
    assert "train (labels fit the oracle alone)" in found.column("Subjects and windows", "windows")


def test_a_bridge_into_the_head_writes_its_input(copy):
    about = json.loads((copy / "report" / "about.json").read_text())
    about["position"][1] = about["layers"]["old"]
    (copy / "report" / "about.json").write_text(json.dumps(about))
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert "writes the input of the task head (" in found.text


@pytest.mark.parametrize(("subjects", "told"), [
    (["P1"], "of one subject"), (["P1", "P2"], "of 2 subjects"),
    ([""], "of subjects who are not known"), (["P1", "P2", "P3"], None),
])
def test_why_there_are_no_intervals_is_said(copy, subjects, told):
    with np.load(copy / "report" / "test.npz") as arrays:
        test = dict(arrays)
    names = np.resize(subjects, len(test["labels"])) if subjects != [""] else np.empty(0, str)
    np.savez(copy / "report" / "test.npz", **test | {"subjects": names})
    text = check_page(run_page.write(copy).read_text(encoding="utf-8")).text
    if told is None:
        assert "No intervals" not in text
    else:
        assert f"No intervals: the test windows are {told}." in text


def test_time_lost_by_an_interruption_is_told(copy, page):
    assert page.column("Stages", "time")["bridge"] == "61 s" and "at least" not in page.text
    done = json.loads((copy / "bridge" / "done.json").read_text())
    (copy / "bridge" / "done.json").write_text(json.dumps(done | {"resumed": True}))
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert found.column("Stages", "time")["bridge"] == "61 s*" and "at least 6.1 min" in found.text
    assert "* Since it went on after an interruption" in found.text


def test_names_are_escaped(copy):
    record = json.loads((copy / "run.json").read_text())
    record["settings"]["class_names"] = ["<b>rest", "load & 'stress'\""]
    (copy / "run.json").write_text(json.dumps(record))
    found = check_page(run_page.write(copy).read_text(encoding="utf-8"))
    assert not [tag for tag, _ in found.tags if tag == "b"]
    assert found.table("bridge, balanced accuracy")[0][1:] == [
        "predicted <b>rest", "predicted load & 'stress'\""
    ]


def test_the_page_is_the_same_every_time(made):
    first = run_page.write(made[0]).read_bytes()
    assert run_page.write(made[0]).read_bytes() == first


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        run_page.write(tmp_path)
    (tmp_path / "run.json").write_text('{"run_id": 7}')
    with pytest.raises(InputError, match="run.json is damaged, or not of this package"):
        run_page.write(tmp_path)
