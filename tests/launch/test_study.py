"""Studies as a person runs them: one command, a table and a page, and the same command again."""

import csv
import json

import pytest

from tests.launch.test_scripts import run


@pytest.mark.slow
def test_a_miniature_study_ends_with_a_page_and_is_kept(tmp_path):
    out = tmp_path / "study"
    flags = [
        "--study=misalignment", f"--out={out}", "--miniature", "--methods=linear stitching",
        "--only=0 s; 2 s",
    ]
    done = run("study", *flags)
    assert done.returncode == 0, done.stderr
    assert f"Page: {out / 'report.html'}" in done.stdout
    with (out / "results.csv").open() as file:
        found = {row["method"] for row in csv.DictReader(file)}
    assert found == {"linear stitching, 0 s", "linear stitching, 2 s"}
    about = json.loads((out / "study.json").read_text())
    assert about["command"].startswith("python -m launch.study --study=misalignment")
    assert about["axis"]["label"] == "shift (s)" and about["missing"] == 0
    again = run("study", *flags)
    assert again.returncode == 0 and "2 jobs, 2 of them done before" in again.stderr
    refused = run("study", "--study=noise", f"--out={out}", "--miniature")
    assert refused.returncode == 2
    assert "other settings" in refused.stderr


def test_what_makes_no_sense_is_refused(tmp_path):
    done = run("study", "--study=loss", f"--out={tmp_path}", "--miniature", "--methods=KD; oracle")
    assert done.returncode == 2
    assert "study loss is of the bridge alone" in done.stderr
    done = run("study", "--study=methods", f"--out={tmp_path}", "--pretraining=1")
    assert done.returncode == 2
    assert "--pretraining counts with --pretrained alone" in done.stderr
    assert not list(tmp_path.iterdir())
