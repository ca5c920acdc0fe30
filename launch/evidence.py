"""Keeps the studies that README.md's comparison of methods rests on, and writes its table and picture.

    python -m launch.study --study=methods --pretrained --seeds=0,1,2,3,4 --out=runs/pretrained
    python -m launch.evidence --keep=pretrained=runs/pretrained
    python -m launch.evidence                   # the table again from what is kept

Where a method changes, it alone need be run again, with the teacher, by which the two runs are seen
to be of the same people and arithmetic:

    python -m launch.study ... "--methods=teacher;KD-Contrast" --out=runs/again
    python -m launch.evidence --renew=pretrained=runs/again

What is kept, results.csv (compressed) and study.json of each study, is in launch/kept; every
figure of the table is read from there. Nothing is typed.
"""

import gzip
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from jaxbridge.report.page import words
from jaxbridge.report.page.drawing import PAPER
from jaxbridge.report.study.figures import bars_figure
from jaxbridge.report.study.table import Part, read_parts
from jaxbridge.settings_difference import differences
from jaxbridge.statistics.comparison import Comparison
from jaxbridge.statistics.tidy import write_table
from launch.readme_table import README, with_table
from launch.script import run
from model_ports.errors import InputError

KEPT = pathlib.Path(__file__).parent / "kept"
PICTURE = pathlib.Path(__file__).parent / "pictures" / "methods_scores.png"
# Name of a study that may be kept -> heading of its column. The first one is the picture's.
STUDIES = {
    "pretrained": "pretrained, EEG → ECG",
    "ecg2eeg": "pretrained, ECG → EEG",
    "random": "random, EEG → ECG",
    "eegmat": "EEGMAT, random, EEG → ECG",
}
# Method -> what README.md calls it, in the table's order.
LABELS = {
    "teacher": "teacher: trained on the old modality's labels",
    "bridge": "**bridge**",
    "bridge, closed form": "bridge in closed form: no training step",
    "head-only bridge": "head-only bridge",
    "KD": "knowledge distillation (KD), whole encoder",
    "KD, frozen encoder": "KD, frozen encoder: a linear head",
    "KD-Contrast": "KD-Contrast",
    "LoRA": "LoRA in the new encoder",
    "signal translation": "signal translation, then the teacher",
    "linear stitching": "linear stitching (ridge)",
    "Procrustes": "Procrustes alignment",
    "CORAL": "CORAL alignment",
    "random bridge": "random bridge (control)",
    "bridge, shuffled pairs": "bridge, pairs shuffled (control)",
    "oracle": "oracle: head trained on the new labels",
    "oracle, unfrozen": "oracle, whole encoder trained",
}
_SCORE, _TEACHER = "balanced_accuracy", "teacher"

_KEEP = flags.DEFINE_list(
    "keep", [], f"NAME=FOLDER of finished studies of methods, NAME of {', '.join(STUDIES)}."
)
_RENEW = flags.DEFINE_list(
    "renew", [], "NAME=FOLDER of finished studies of the teacher and some methods, whose results take "
    "the place of those kept.",
)


def main() -> None:
    for flag, put in ((_KEEP, keep), (_RENEW, renew)):
        for pair in flag.value:
            name, _, folder = pair.partition("=")
            put(name, pathlib.Path(folder), KEPT)
    found = read(KEPT)
    README.write_text(with_table(README.read_text(), "launch.evidence", table(found)))
    draw(next(iter(found)), KEPT, PICTURE)
    print(f"{README}: table written\n{PICTURE}: drawn")


def keep(name: str, folder: pathlib.Path, kept: pathlib.Path) -> None:
    """Puts a finished study beside the others.

    Args:
        name: of `STUDIES`.
        folder: of a study of methods, as `launch.study` leaves it.
        kept: where all are.

    Raises:
        InputError: no such name, no study of methods, or one that is not finished.
    """
    part, study = _finished("keep", name, folder)
    _write(kept / name, part.rows, study)


def renew(name: str, folder: pathlib.Path, kept: pathlib.Path) -> None:
    """Puts the methods of a finished study in the place of the same ones in the study kept.

    Args:
        name: of `STUDIES`, one that is kept.
        folder: of a study of the teacher and some methods, with the same settings.
        kept: where all are.

    Raises:
        InputError: no such name, nothing kept there, no finished study of methods, other settings,
            methods that are not kept, or a teacher that says other things of the test people.
    """
    part, study = _finished("renew", name, folder)
    found = read(kept)
    if name not in found:
        raise InputError(f"--renew={name}=...: nothing is kept of it yet; give --keep={name}=FOLDER.")
    before, record = found[name], json.loads((kept / name / "study.json").read_text())
    if changed := differences(record["settings"], study["settings"]):
        raise InputError(f"{folder} has other settings than the study kept:\n" + "\n".join(changed))
    if unknown := sorted(set(part.methods) - set(before.methods)):
        raise InputError(f"{folder}: {', '.join(unknown)} not in the study kept; keep it whole.")
    if _TEACHER not in part.methods or _counts(part) != _counts(before):
        raise InputError(
            f"{folder}: its teacher does not tell the test people as the one kept does, so the rows "
            "cannot stand in one table: run all methods on this machine and --keep them."
        )
    again = [method for method in part.methods if method != _TEACHER]
    rows = []
    for method in before.methods:
        source = part if method in again else before
        rows += [row for row in source.rows if row["method"] == method]
    variations = {variation["name"]: variation for variation in study["variations"]}
    record["variations"] = [
        variations[v["name"]] if v["name"] in again else v for v in record["variations"]
    ]
    record.setdefault("renewed", []).append(
        {"methods": again, "command": study["command"], "versions": study["versions"]}
    )
    _write(kept / name, rows, record)


def _finished(flag: str, name: str, folder: pathlib.Path) -> tuple[Part, dict[str, Any]]:
    if name not in STUDIES:
        raise InputError(f"--{flag}={name}=...: the name is one of {', '.join(STUDIES)}.")
    part = _only_part(folder / "results.csv", folder)
    if not (folder / "study.json").exists():
        raise InputError(f"there is no {folder / 'study.json'}; run the study first.")
    study = json.loads((folder / "study.json").read_text())
    if study["missing"] or study["failed"]:
        raise InputError(
            f"{folder}: {study['missing']} jobs are missing, {len(study['failed'])} failed; run the "
            "study to its end first."
        )
    study["versions"].pop("platform", None)  # the kernel's name tells nobody anything
    return part, study


def _write(folder: pathlib.Path, rows: Sequence[dict[str, str]], study: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study, indent=1) + "\n")
    plain = folder / "results.csv"
    write_table(plain, rows)
    # No time in the file: the same results are the same bytes.
    (folder / "results.csv.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def _counts(part: Part) -> set[tuple[str, ...]]:
    """What the teacher says of each test person: how many windows of which class."""
    return {
        (row["seed"], row["fold"], row["subject"], row["metric"], row["value"])
        for row in part.rows
        if row["method"] == _TEACHER and row["metric"].startswith("true_")
    }


def read(kept: pathlib.Path) -> dict[str, Part]:
    """Returns what is kept, name -> results, in the order of `STUDIES`.

    Raises:
        InputError: nothing is kept.
    """
    paths = {name: kept / name / "results.csv.gz" for name in STUDIES}
    found = {
        name: _only_part(path, path.parent) for name, path in paths.items() if path.exists()
    }
    if not found:
        raise InputError(f"nothing is kept in {kept}; give --keep=NAME=FOLDER.")
    return found


def table(found: dict[str, Part]) -> str:
    """Returns the table as Markdown: a row per method, a column per study.

    Args:
        found: see `read`.
    """
    lines = [
        f"| | trained parameters | {' | '.join(STUDIES[name] for name in found)} |",
        "|---|" + "--:|" * (1 + len(found)),
    ]
    for method, label in LABELS.items():
        parts = [part for part in found.values() if method in part.methods]
        if not parts:
            continue
        sizes = {part.costs(method)["trainable_parameters"] for part in parts}
        cells = [label, " to ".join(map(words.count, sorted({min(sizes), max(sizes)})))]
        for part in found.values():
            score = part.summary(method).get(_SCORE) if method in part.methods else None
            cells.append(words.score(*score) if score else "")
        lines.append(f"| {' | '.join(cells)} |")
    people = {}
    for name, part in found.items():
        people.setdefault(_people(part), []).append(STUDIES[name])
    tested = "; ".join(
        said if len(people) == 1 else f"{said} ({'; '.join(names)})" for said, names in people.items()
    )
    differences = "; ".join(_against_kd(STUDIES[name], part) for name, part in found.items())
    return "\n".join([*lines, "", (
        f"Balanced accuracy on {tested}, 95 % intervals over people; how much is trained depends on "
        "the encoder that learns and on the bridge's position. Bridge minus KD, paired over people: "
        f"{differences}."
    )])


def draw(name: str, kept: pathlib.Path, path: pathlib.Path) -> None:
    """Draws the scores of one kept study as bars."""
    part = read(kept)[name]
    study = json.loads((kept / name / "study.json").read_text())
    figure = bars_figure(
        {method: part.summary(method)[_SCORE] for method in part.methods},
        {method: part.runs(method, _SCORE) for method in part.methods},
        study["baselines"], study["controls"], 1 / part.num_classes,
    )
    figure.savefig(path, dpi=200, facecolor=PAPER)


def _only_part(path: pathlib.Path, folder: pathlib.Path) -> Part:
    parts = read_parts(path)
    if [part.study for part in parts] != ["methods"]:
        raise InputError(f"{folder} is no study of methods on one data set.")
    return parts[0]


def _against_kd(heading: str, part: Part) -> str:
    found: Comparison = next(
        c for c in part.comparisons(["KD"], set(part.methods) - {"bridge", "KD"})[0]
        if c.method == "bridge"
    )
    return f"{heading} {found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _people(part: Part) -> str:
    runs = {(row["seed"], row["fold"]) for row in part.rows if row["seed"]}
    folds = len({fold for _, fold in runs})
    counted = f"{folds} folds" if folds > 1 else f"{len(runs)} draws"
    return f"{len(part.subjects)} test people of {counted}"


if __name__ == "__main__":
    run(main)
