"""README.md's comparison of methods is what kept studies say, and they are whole."""

import csv
import json

import pytest

from jaxbridge import methods
from jaxbridge.statistics.comparison import against_best
from launch import evidence
from launch.readme_table import README, with_table
from model_ports.errors import InputError
from tests.jaxbridge.report.toy_study_folder import write_study

SKILLS = {"KD": 0.8, "bridge": 0.85, "oracle": 0.95}
FINISHED = {"missing": 0, "failed": [], "baselines": ["KD"], "controls": ["oracle"]}


def test_readme_holds_the_table_of_what_is_kept():
    readme = README.read_text()
    text = evidence.table(evidence.read(evidence.KEPT))
    assert with_table(readme, "launch.evidence", text) == readme


def test_every_method_was_run_on_five_draws_or_folds():
    assert set(evidence.LABELS) == set(methods.available())
    for name, part in evidence.read(evidence.KEPT).items():
        assert set(part.methods) == set(methods.available()), name
        for method in part.methods:
            assert len(part.runs(method, "balanced_accuracy")) == 5, (name, method)


def test_the_commands_are_those_of_readme():
    for name in evidence.read(evidence.KEPT):
        study = json.loads((evidence.KEPT / name / "study.json").read_text())
        command, _, _ = study["command"].partition(" --out=")
        assert f"{command} --out=" in README.read_text(), name


def test_what_is_kept_is_what_was_found(tmp_path):
    runs = write_study(tmp_path / "study", name="methods", skills=SKILLS, **FINISHED)
    for name in ("random", "pretrained"):
        evidence.keep(name, tmp_path / "study", tmp_path / "kept")
    text = evidence.table(evidence.read(tmp_path / "kept"))
    with (tmp_path / "study" / "results.csv").open(newline="") as file:
        rows = {
            row["method"]: row for row in csv.DictReader(file)
            if row["metric"] == "balanced_accuracy" and row["seed"] == row["subject"] == ""
        }
    found = "{:.3f} ({:.3f} to {:.3f})".format(
        *(float(rows["bridge"][key]) for key in ("value", "low", "high"))
    )
    assert f"| **bridge** | 100 | {found} | {found} |" in text
    difference = next(
        c for c in against_best({m: runs[m] for m in ("KD", "bridge")}, ["KD"])
    ).difference
    assert f"random, EEG → ECG {difference:+.3f} (" in text
    assert "6 test people of 2 draws" in text
    evidence.draw("random", tmp_path / "kept", tmp_path / "scores.png")
    assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_folds_are_not_called_draws(tmp_path):
    for name in ("random", "eegmat"):
        write_study(tmp_path / name, name="methods", skills=SKILLS, **FINISHED)
    path = tmp_path / "eegmat" / "results.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            row | {"seed": "0", "fold": "1"} if row["seed"] == "1" else row for row in rows
        )
    for name in ("random", "eegmat"):
        evidence.keep(name, tmp_path / name, tmp_path / "kept")
    text = evidence.table(evidence.read(tmp_path / "kept"))
    assert "on 6 test people of 2 draws (random, EEG → ECG); 6 test people of 2 folds (" in text


WHOLE = {"teacher": 0.85, "KD": 0.8, "KD-Contrast": 0.5, "bridge": 0.85, "oracle": 0.95}


def _study(folder, skills, seed=0, rank=8):
    """A study's folder whose variations and settings can be told apart."""
    return write_study(
        folder, name="methods", skills=skills, **FINISHED, settings={"bridge": {"rank": rank}},
        command=f"python -m launch.study --out={folder.name}",
        variations=[{"name": method, "draw": seed} for method in skills],
    )


def test_renewed_methods_take_the_place_of_those_kept(tmp_path):
    _study(tmp_path / "whole", WHOLE)
    kept = tmp_path / "kept"
    evidence.keep("random", tmp_path / "whole", kept)
    before = evidence.read(kept)["random"]
    again = {"teacher": 0.85, "KD-Contrast": 0.9}
    _study(tmp_path / "again", again, seed=1)
    evidence.renew("random", tmp_path / "again", kept)

    after = evidence.read(kept)["random"]
    assert after.methods == before.methods
    new = evidence._only_part(tmp_path / "again" / "results.csv", tmp_path)
    for method in WHOLE:
        source = new if method == "KD-Contrast" else before
        assert [r for r in after.rows if r["method"] == method] == [
            r for r in source.rows if r["method"] == method
        ]
    assert after.summary("KD-Contrast") != before.summary("KD-Contrast")
    study = json.loads((kept / "random" / "study.json").read_text())
    assert study["command"] == "python -m launch.study --out=whole"
    assert {v["name"]: v["draw"] for v in study["variations"]} == dict.fromkeys(WHOLE, 0) | {
        "KD-Contrast": 1
    }
    assert study["renewed"] == [{
        "methods": ["KD-Contrast"], "command": "python -m launch.study --out=again",
        "versions": {"jax": "1.2.3"},
    }]


def test_methods_of_another_run_are_not_mixed_in(tmp_path):
    kept = tmp_path / "kept"
    _study(tmp_path / "whole", WHOLE)
    evidence.keep("random", tmp_path / "whole", kept)
    before = (kept / "random" / "results.csv.gz").read_bytes()

    def refused(match, name="random", **study):
        _study(tmp_path / "again", **study)
        with pytest.raises(InputError, match=match):
            evidence.renew(name, tmp_path / "again", kept)

    good = {"teacher": 0.85, "KD-Contrast": 0.9}
    refused("nothing is kept of it yet", name="eegmat", skills=good)
    refused("other settings than the study kept:\n.*rank.*8.*4", skills=good, rank=4)
    refused("LoRA not in the study kept", skills=good | {"LoRA": 0.5})
    refused("its teacher does not tell", skills={"teacher": 0.6, "KD-Contrast": 0.9})
    refused("its teacher does not tell", skills={"KD-Contrast": 0.9})
    assert (kept / "random" / "results.csv.gz").read_bytes() == before


def test_what_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(InputError, match="the name is one of pretrained"):
        evidence.keep("mine", tmp_path, tmp_path / "kept")
    with pytest.raises(InputError, match="run the study first"):
        evidence.keep("random", tmp_path, tmp_path / "kept")
    write_study(tmp_path / "toy")
    with pytest.raises(InputError, match="is no study of methods"):
        evidence.keep("random", tmp_path / "toy", tmp_path / "kept")
    write_study(tmp_path / "half", name="methods", skills=SKILLS, **FINISHED | {"missing": 3})
    with pytest.raises(InputError, match="3 jobs are missing, 0 failed"):
        evidence.keep("random", tmp_path / "half", tmp_path / "kept")
    with pytest.raises(InputError, match="nothing is kept"):
        evidence.read(tmp_path / "kept")
