"""The page of a study: its numbers are the table's."""

import csv
import json
import re

import numpy as np
import pytest

from jaxbridge.report import study_page
from jaxbridge.report.page import words
from jaxbridge.report.study.table import read_parts
from jaxbridge.statistics.calibration import abstention, calibration
from jaxbridge.statistics.comparison import against_best
from model_ports.errors import InputError
from tests.jaxbridge.report.parsed import check_page
from tests.jaxbridge.report.toy_study_folder import AXIS, SKILL, STUDY, write_study


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    runs = write_study(folder, axis=AXIS, notes=["A note."])
    return folder, runs, check_page(study_page.write(folder).read_text(encoding="utf-8"))


def _table(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_sections_and_figures_are_there(made):
    folder, _, page = made
    assert page.headings == [
        "Notes", "Scores", "Against the best baseline", "Pair windows used (%)", "Time and memory",
        "Calibration and abstention", "Settings and provenance",
    ]
    names = [
        "abstention", "parameters", "peak_memory_bytes", "reliability", "scores", "varied", "wall_s",
    ]
    pictures = sorted((folder / "figures").iterdir())
    assert [path.name for path in pictures] == [f"toy-toys-{name}.png" for name in names]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert sum(tag == "svg" for tag, _ in page.tags) == len(names)


@pytest.mark.parametrize(("metric", "heading"), [
    ("balanced_accuracy", "balanced accuracy"), ("f1_macro", "F1 macro"), ("kappa", "Cohen's kappa"),
    ("ece", "calibration error (ECE)"), ("log_loss", "log loss"),
])
def test_scores_are_those_of_the_table(made, metric, heading):
    folder, _, page = made
    shown = page.column("Scores on test windows", heading)
    rows = {
        row["method"]: row for row in _table(folder)
        if row["metric"] == metric and row["seed"] == row["subject"] == ""
    }
    assert shown.keys() == rows.keys() == SKILL.keys()
    for method, row in rows.items():
        numbers = [float(row[key]) for key in ("value", "low", "high") if row[key]]
        assert [float(n) for n in re.findall(r"-?\d+\.\d+", shown[method])] == (
            pytest.approx(numbers, abs=5.01e-4)
        )


def test_comparisons_are_those_of_the_predictions(made):
    """The table's counts of subjects are enough: nothing is lost against the predictions."""
    folder, runs, page = made
    runs = {method: found for method, found in runs.items() if method != "oracle"}
    wanted = against_best(runs, STUDY["baselines"])
    table = page.table("Balanced accuracy minus that of KD & <co>")
    assert [row[0] for row in table[1:]] == [c.method for c in wanted]
    for row, found in zip(table[1:], wanted, strict=True):
        assert row[1] == f"{found.difference:+.3f}"
        assert row[2] == f"{found.low:+.3f} to {found.high:+.3f}"
        assert row[4] == words.probability(found.p_bootstrap_holm)
        assert row[6] == words.probability(found.p_wilcoxon_holm)
    with (folder / "comparisons.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["p_wilcoxon_holm"]) for row in written] == [c.p_wilcoxon_holm for c in wanted]


def test_curves_are_those_of_the_predictions(made):
    folder, runs, page = made
    part, = read_parts(folder / "results.csv")
    probabilities = np.concatenate([run.probabilities for run in runs["bridge"]])
    labels = np.concatenate([run.labels for run in runs["bridge"]])
    bins, curve = calibration(probabilities, labels), abstention(probabilities, labels)
    filled = bins.count > 0
    found = part.reliability("bridge")
    np.testing.assert_allclose(found.windows, bins.count[filled])
    np.testing.assert_allclose(found.confidence, bins.confidence[filled])
    np.testing.assert_allclose(found.accuracy, bins.accuracy[filled])
    np.testing.assert_allclose(part.answered("bridge").score, curve.balanced_accuracy)
    np.testing.assert_allclose(part.answered("bridge").share, curve.coverage, atol=5e-5)
    half = curve.balanced_accuracy[np.argmin(np.abs(curve.coverage - 0.5))]
    assert page.column("Calibration error", "50% answered")["bridge"] == f"{half:.3f}"


def test_costs_and_the_varied_axis(made):
    _, _, page = made
    assert page.column("What a method takes", "training time")["stitching"] == "50 s"
    assert page.column("What a method takes", "trained parameters")["oracle"] == "100,000"
    assert page.column("What a method takes", "memory of a step")["bridge"] == "30 MB"
    scores = page.column("Scores on test windows", "balanced accuracy")
    assert page.table("Balanced accuracy by pair windows")[1] == [
        "bridge", scores["bridge, 20 %"], scores["bridge"]
    ]


def test_the_same_tables_as_markdown(made):
    folder, _, page = made
    found = {}
    for block in (folder / "tables.md").read_text(encoding="utf-8").strip().split("\n\n**"):
        caption, _, header, rule, *rows = block.splitlines()
        assert header.count("|") == rule.count("|") == len(page.table(caption.strip("*"))[0]) + 1
        found[caption.strip("*")] = [row.strip("| ").split(" | ") for row in rows]
    scores = next(rows for caption, rows in found.items() if caption.startswith("Scores"))
    column = page.column("Scores on test windows", "balanced accuracy")
    assert {row[0]: row[2] for row in scores} == column
    assert not any("Settings" in caption for caption in found)


def test_few_subjects_are_told(made, tmp_path):
    assert "Only 6 test subjects" in made[2].text
    assert "not what other seeds would" in made[2].text
    write_study(tmp_path, people=10, curves=False, costs=False)
    assert "test subjects:" not in study_page.write(tmp_path).read_text(encoding="utf-8")


def test_names_are_escaped_and_the_command_is_whole(made):
    _, _, page = made
    assert "co" not in {tag for tag, _ in page.tags}
    assert STUDY["command"] in page.text
    assert page.column("Settings", "value") == {"seeds": "0, 1", "bridge.rank": "8"}


def test_two_data_sets_without_curves_costs_and_axis(tmp_path):
    write_study(tmp_path, datasets=("toys", "other toys"), curves=False, costs=False)
    page = check_page(study_page.write(tmp_path).read_text(encoding="utf-8"))
    assert page.headings == [
        "Scores, toys", "Against the best baseline, toys", "Scores, other toys",
        "Against the best baseline, other toys", "Settings and provenance",
    ]


def _rewrite(folder, keep):
    """Writes the rows again for which `keep(row)` is true; it may change them."""
    rows = _table(folder)
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in rows if keep(row))


def test_why_there_is_no_comparison_is_said(tmp_path):
    write_study(tmp_path, curves=False)

    def other_people(row):
        if row["method"] == "bridge" and row["subject"] == "P00":
            row["subject"] = "P99"
        return True

    _rewrite(tmp_path, other_people)
    page = check_page(study_page.write(tmp_path).read_text(encoding="utf-8"))
    assert "No comparison: " in page.text and "not of the same seeds, folds and windows" in page.text
    assert not (tmp_path / "comparisons.csv").exists()


def test_baselines_without_every_seed_are_why_there_is_no_comparison(tmp_path):
    write_study(tmp_path, curves=False, costs=False)
    _rewrite(tmp_path, lambda row: (
        row["method"] not in STUDY["baselines"] or row["seed"] != "1"
    ))
    page = check_page(study_page.write(tmp_path).read_text(encoding="utf-8"))
    assert "No comparison: no baseline has every seed and fold; run the missing ones." in page.text


def test_one_method_alone_has_a_page(tmp_path):
    write_study(tmp_path, curves=False)
    study_page.write(tmp_path)
    assert (tmp_path / "comparisons.csv").exists()
    _rewrite(tmp_path, lambda row: row["method"] == "stitching")
    page = check_page(study_page.write(tmp_path).read_text(encoding="utf-8"))
    assert "No comparison: there is no other method." in page.text
    # Those of the methods that were there before are gone, and nothing points to them.
    assert not (tmp_path / "comparisons.csv").exists() and "comparisons.csv" not in page.text


def test_methods_without_every_seed_are_not_compared(tmp_path):
    runs = write_study(tmp_path, curves=False, costs=False)
    _rewrite(tmp_path, lambda row: (
        not (row["method"] == "bridge, 20 %" and row["seed"] == "1")
        and not (row["method"] == "stitching" and row["seed"])
    ))
    page = check_page(study_page.write(tmp_path).read_text(encoding="utf-8"))
    assert "for want of a seed or fold: bridge, 20 %." in page.text
    wanted, = against_best({m: runs[m] for m in ("bridge", "KD & <co>")}, ["KD & <co>"])
    row, = page.table("Balanced accuracy minus that of KD & <co>")[1:]
    assert row[:2] == ["bridge", f"{wanted.difference:+.3f}"]


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda f: (f / "results.csv").unlink(), "run the study first"),
    (lambda f: (f / "results.csv").write_text("method,value\nKD,1\n"), "lacks columns dataset"),
    (lambda f: (f / "results.csv").write_text(
        (f / "results.csv").read_text().replace(",test,", ",val,")), "no rows of split test"),
    (lambda f: (f / "results.csv").write_bytes(b"\xff\xfe\x00"), "results.csv cannot be read"),
    (lambda f: (f / "results.csv").write_bytes((f / "results.csv").read_bytes()[:5000].rstrip(b"\n,")),
     "results.csv is damaged in row"),
    (lambda f: (f / "results.csv").write_text(
        (f / "results.csv").read_text().replace(",0.", ",O.", 1)), "results.csv is damaged in row 2;"),
    (lambda f: (f / "study.json").unlink(), "run the study first"),
    (lambda f: (f / "study.json").write_text("{"), "is damaged"),
    (lambda f: (f / "study.json").write_text(json.dumps({"title": "x"})), "lacks command, settings"),
])
def test_bad_folders_are_refused(tmp_path, break_it, message):
    write_study(tmp_path, curves=False)
    break_it(tmp_path)
    with pytest.raises(InputError, match=message):
        study_page.write(tmp_path)


def test_a_study_without_summaries_is_refused(tmp_path):
    write_study(tmp_path, people=2)
    with pytest.raises(InputError, match="no summary of toy on toys"):
        study_page.write(tmp_path)


@pytest.mark.parametrize(("given", "text"), [
    (0, "0"), (999, "999 B"), (1000, "1 kB"), (2.5e9, "2.5 GB"), (float("nan"), "–"),
])
def test_prefixes(given, text):
    assert words.scaled(given, "B") == text
