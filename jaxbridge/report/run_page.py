"""The page of a single run: report.html in its folder, from the files there and nothing else."""

import io
import pathlib

import numpy as np

from jaxbridge.report import figures
from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import (
    Block,
    Code,
    Page,
    Picture,
    Section,
    Shaded,
    Side,
    Table,
    Text,
    Tile,
)
from jaxbridge.report.page.calibration_figures import (
    Answered,
    Reliability,
    abstention_figure,
    reliability_figure,
)
from jaxbridge.report.page.document import write_page
from jaxbridge.report.page.drawing import png, svg
from jaxbridge.report.run.contents import RunContents, read_run
from jaxbridge.report.run.figures import curves_figure, num_leads_shown, window_figure
from jaxbridge.statistics.calibration import Calibration, abstention, calibration

_SPLITS = {
    "train": "train (labels fit the teacher)", "val": "validation", "pair": "pairs (no labels used)",
    "test": "test",
}
_SCORES = {
    "balanced_accuracy": "balanced accuracy", "f1_macro": "F1 macro", "kappa": "Cohen's kappa",
    "accuracy": "accuracy", "f1_weighted": "F1 weighted",
}
_LOSSES = {"cosine": "1 - cosine", "token_cosine": "1 - cosine, token by token"}


def write(run: str | pathlib.Path) -> pathlib.Path:
    """Writes the page; what the run has not made (a scan where the position was given) is left out.

    Args:
        run: run folder of `jaxbridge.transfer`.

    Returns:
        The page's path.

    Raises:
        InputError: no run folder.
    """
    found = read_run(pathlib.Path(run))
    parts = (_transferred, _results, _scan, _curves, _confusion, _examples, _calibration, _cost,
             _provenance)  # fmt: skip
    old, new = (_signal(found, role) for role in ("old", "new"))
    page = Page(
        title=f"{old} to {new}: a bridge from {_encoder(found, 'new')} into {_encoder(found, 'old')}",
        subtitle=_subtitle(found), tiles=_tiles(found),
        sections=[section for part in parts if (section := part(found)) is not None],
    )
    return write_page(found.path / "report.html", page)


def _signal(run: RunContents, role: str) -> str:
    name = run.settings[f"{role}_modality"]
    return name.upper() if len(name) <= 4 else name


def _encoder(run: RunContents, role: str) -> str:
    return run.settings[role]["name"]


def _subtitle(run: RunContents) -> str:
    dataset = (run.about or {}).get("dataset")
    classes = ", ".join(run.classes)
    seed = f"seed {run.settings['seed']}"
    return " · ".join(filter(None, (dataset, f"classes: {classes}", seed)))


def _tiles(run: RunContents) -> list[Tile]:
    tiles = []
    for method, label in (("bridge", "Bridge"), ("teacher", "Teacher")):
        if (row := run.of(method)) is not None:
            found = run.intervals(method).get("balanced_accuracy")
            note = "" if found is None else f"95 % interval {found.low:.3f} to {found.high:.3f}"
            tiles.append(Tile(
                f"{label}, balanced accuracy on test", f"{row['balanced_accuracy']:.3f}", note
            ))
    if (row := run.of("bridge")) is not None:
        tiles.append(Tile("Trained in the bridge", words.count(row["trainable_parameters"]),
                          "parameters"))
    if run.stages:
        total = sum(done["seconds"] for done in run.stages.values())
        tiles.append(Tile("Time of all stages", words.seconds(total), run.record["versions"]["devices"]))
    return tiles


def _transferred(run: RunContents) -> Section:
    settings, about = run.settings, run.about
    roles = ("old", "new")
    rows = [
        ["signal", *(_signal(run, role) for role in roles)],
        ["encoder", *(_encoder(run, role) for role in roles)],
        ["weights", *(_weights(run, role) for role in roles)],
        ["weights hash", *(settings[role]["weights_hash"][:16] for role in roles)],
    ]
    if about is not None:
        sides = [about["modalities"][role] for role in roles]
        rows += [
            ["rate", *(f"{side['sampling_rate_hz']:g} Hz" for side in sides)],
            ["unit", *(side["unit"] for side in sides)],
            ["leads", *(_leads(side) for side in sides)],
            ["window as stored", *(" x ".join(map(str, side["shape"])) for side in sides)],
            ["layers", *(str(about["layers"][role]) for role in roles)],
        ]
    blocks: list[Block] = [
        Text(
            f"A classifier of {_signal(run, 'old')} is reused on {_signal(run, 'new')}. Both encoders "
            "stay as they are; the bridge between them learns from simultaneous windows without labels."
            if settings["bridge"]["trainable"] == "bridge" else
            f"A classifier of {_signal(run, 'old')} is reused on {_signal(run, 'new')} through a "
            "bridge that learns from simultaneous windows without labels."
        ),
        Table("The two sides", ["", "old (labelled)", "new"], rows, words=(1, 2)),
    ]
    if about is not None:
        blocks.append(_position(run))
        known = [
            f"Windows of {about['window_s']:g} s" if about["window_s"] else "",
            f"one every {about['step_s']:g} s" if about["step_s"] else "",
        ]
        if any(known):
            labels = f" Labels: {about['labels']}." if about["labels"] else ""
            blocks.append(Text(f"{', '.join(filter(None, known))}.{labels}"))
        blocks.append(_splits(run))
    return Section("transferred", "What was transferred", blocks)


def _position(run: RunContents) -> Text:
    m, l = run.about["position"]  # noqa: E741
    into = "the task head" if l == run.about["layers"]["old"] else f"the input of old layer {l}"
    how = "given" if run.settings["position"] is not None else "chosen by the scan"
    return Text(f"The bridge reads the output of new layer {m} and writes {into} ({how}).")


def _weights(run: RunContents, role: str) -> str:
    if run.flags is None:
        return "see the hash"
    given = run.flags.get(f"{role}_weights")
    return "random weights, nothing pretrained" if given is None else str(given)


def _leads(side: dict) -> str:
    return "not named" if side["leads"] is None else ", ".join(side["leads"])


def _splits(run: RunContents) -> Table:
    splits = run.about["splits"]
    rows = [
        [_SPLITS.get(name, name), words.count(splits[name]["subjects"]),
         words.count(splits[name]["recordings"]), words.count(splits[name]["windows"]),
         *map(words.count, splits[name]["classes"])]
        for name in _SPLITS if name in splits
    ]
    header = ["split", "subjects", "recordings", "windows", *(f"of {c}" for c in run.classes)]
    return Table("Subjects and windows per split", header, rows)


def _results(run: RunContents) -> Section | None:
    if not run.metrics:
        return None
    methods = list(dict.fromkeys(row["method"] for row in run.metrics))
    rows, intervals = [], False
    for method in methods:
        row, bounds = run.of(method), run.intervals(method)
        intervals |= bool(bounds)
        rows.append([
            method, row["modality"].upper() or "nothing", words.count(row["trainable_parameters"]),
            *(words.score(row[s], *bounds[s][1:]) if s in bounds else words.score(row[s])
              for s in _SCORES),
        ])
    caption = "Test windows" + (", with 95 % intervals over subjects" if intervals else "")
    blocks: list[Block] = [
        Table(caption, ["method", "reads", "trained parameters", *_SCORES.values()], rows, words=(1,)),
        Table(
            "Balanced accuracy in every split", ["method", "train", "validation", "test"],
            [[m, *(words.score(run.of(m, s)["balanced_accuracy"]) for s in ("train", "val", "test"))]
             for m in methods],
        ),
        Text(
            "Chance: always the most frequent class. Shuffled pairs: the same bridge trained on windows "
            "that do not belong together, which must fall to chance. Oracle: a head fitted to the new "
            "signal's own labels on the layer that the bridge reads."
        ),
    ]
    return Section("results", "Results", blocks)


def _scan(run: RunContents) -> Section | None:
    if run.selection is None:
        return None
    chosen, count = run.selection, len(run.classes)
    m, l = chosen.m, chosen.l  # noqa: E741
    buffer = io.BytesIO()
    figures.layer_scan(chosen, count).savefig(buffer, format="png", dpi=150)
    mean, std = chosen.probe_scores.mean(axis=1), chosen.probe_scores.std(axis=1)
    alt = (
        f"Left: score of a linear probe on every new layer; layer {m} is chosen with {mean[m]:.2f}. "
        f"Right: similarity of every new layer to every old layer; old layer {l} is chosen with "
        f"{chosen.cka[m, l]:.2f}. The tables below hold the numbers."
    )
    criterion = chosen.criterion.replace("_", " ")
    rows = [
        [f"{i}{', chosen' if i == m else ''}", f"{mean[i]:.3f} ± {std[i]:.3f}",
         *(Shaded(f"{value:.2f}{', chosen' if (i, j) == (m, l) else ''}", float(np.clip(value, 0, 1)))
           for j, value in enumerate(chosen.cka[i]))]
        for i in range(len(mean))
    ]
    return Section("scan", "Where the bridge goes", [
        Text(
            f"Output of new layer {m} into the input of old layer {l}. First the new layer whose output "
            f"best predicts the teacher's labels ({criterion}), then the old layer whose input is most "
            "similar to it (linear CKA)."
        ),
        Picture(png(buffer.getvalue(), alt), "Probe scores of new layers, and similarity of all pairs "
                "of layers. The frame and the square mark the choice.", card=True, wide=True),
        Table(
            "The same in numbers", ["new layer", f"{criterion}, mean ± sd of folds",
                                    *(f"old {j}" for j in range(chosen.cka.shape[1]))], rows,
            corner="columns: linear CKA with the input of each old layer",
        ),
    ])


def _curves(run: RunContents) -> Section | None:
    pictures = []
    for stage, loss, title in (
        ("teacher", "cross-entropy", "Teacher: head" + (
            " and old encoder" if run.settings["head"]["unfrozen"] else "") + " on old labels"),
        ("bridge", _loss(run), "Bridge, and the control on shuffled pairs"),
    ):
        curves = run.curves[stage]
        if not curves:
            continue
        ends = "; ".join(
            f"{name}: {len(curve)} epochs, validation loss {curve[0].val_loss:.3g} at first, "
            f"{curve[-1].val_loss:.3g} at last" for name, curve in curves.items()
        )
        pictures.append(Picture(
            svg(curves_figure(curves, loss), f"curve-{stage}", f"Loss over epochs. {ends}."),
            f"{title}. {ends}.",
        ))
    return Section("training", "Training", [Side(pictures)]) if pictures else None


def _loss(run: RunContents) -> str:
    bridge = run.settings["bridge"]
    name = _LOSSES.get(bridge["loss"], bridge["loss"].replace("_", " "))
    at = "the last layer" if bridge["location"] == "last_layer" else "the bridge's output"
    return f"alignment loss at {at} ({name})"


def _confusion(run: RunContents) -> Section | None:
    rows = [r for r in run.metrics if r["split"] == "test" and r["method"] != "chance"]
    if not rows:
        return None
    tables = []
    for row in rows:
        counts = np.asarray(row["confusion"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        tables.append(Table(
            f"{row['method']}, balanced accuracy {row['balanced_accuracy']:.3f}",
            ["true", *(f"predicted {c}" for c in run.classes)],
            [[name, *(Shaded(f"{s:.0%}\n{n}", float(s)) for s, n in zip(share, count, strict=True))]
             for name, share, count in zip(run.classes, shares, counts, strict=True)],
        ))
    return Section("confusion", "Confusion matrices", [
        Text("Test windows: share of each true class, and their number below."), Side(tables),
    ])


def _examples(run: RunContents) -> Section | None:
    if not run.examples or run.about is None:
        return None
    sides = run.about["modalities"]
    pictures = []
    for label, about in run.about["examples"].items():
        signals, few = [], []
        for role in ("old", "new"):
            side = sides[role]
            window = run.examples[f"{label}/{side['modality']}"]
            signals.append((
                _signal(run, role), window, side["sampling_rate_hz"], side["unit"], side["leads"] or (),
            ))
            shown, leads = num_leads_shown(window)
            if shown < leads:
                few.append(f"{shown} of {leads} {_signal(run, role)} leads")
        whose = ", ".join(filter(None, (
            f"recording {about['recording']}" if "recording" in about else "",
            f"subject {about['subject']}" if "subject" in about else "",
            f"from {about['start_s']:g} s" if "start_s" in about else "",
        )))
        name = run.classes[int(label)]
        pictures.append(Picture(
            svg(window_figure(signals), f"window-{label}",
                f"Simultaneous {_signal(run, 'old')} and {_signal(run, 'new')} of one window of class "
                f"{name}."),
            f"{name}{': ' if whose else ''}{whose}{'; ' if few else ''}{', '.join(few)}",
        ))
    return Section("windows", "Example windows", [
        Text("One pair window of each class, as the encoders get it. SD: standard deviations."),
        Side(pictures),
    ])


def _calibration(run: RunContents) -> Section | None:
    methods = {name: run.predictions[name] for name in ("bridge", "teacher") if name in run.predictions}
    if not methods:
        return None
    bins = {m: calibration(p.probabilities, p.labels) for m, p in methods.items()}
    answered = {m: abstention(p.probabilities, p.labels) for m, p in methods.items()}
    ece = ", ".join(f"{m} {found.ece:.3f}" for m, found in bins.items())
    shares = (1.0, 0.9, 0.75, 0.5)
    rows = []
    for m, curve in answered.items():
        places = [int(np.argmin(np.abs(curve.coverage - share))) for share in shares]
        rows.append([m, f"{bins[m].ece:.3f}", *(f"{curve.balanced_accuracy[i]:.3f}" for i in places)])
    return Section("calibration", "Calibration and abstention", [
        Side([
            Picture(
                svg(reliability_figure({m: reliability(b) for m, b in bins.items()}), "reliability",
                    f"Reliability diagram. Expected calibration error: {ece}."),
                "Reliability on test windows: on the dotted line, confidence is what it claims. The "
                f"larger a marker, the more windows. Expected calibration error (ECE): {ece}.",
            ),
            Picture(
                svg(abstention_figure({
                    m: Answered(c.coverage, c.balanced_accuracy) for m, c in answered.items()
                }), "abstention", "Balanced accuracy against the share of windows answered."),
                "What leaving out unsure windows gains.",
            ),
        ]),
        Table("Calibration error, and balanced accuracy of the surest windows",
              ["method", "ECE", *(f"{share:.0%} answered" for share in shares)], rows),
    ])


def reliability(found: Calibration) -> Reliability:
    """Returns the bins that hold windows."""
    filled = found.count > 0
    return Reliability(found.count[filled], found.confidence[filled], found.accuracy[filled])


def _cost(run: RunContents) -> Section | None:
    blocks: list[Block] = []
    if run.about is not None:
        sizes = run.about["parameters"]
        blocks.append(Table("Parameters", ["part", "parameters"], [
            ["bridge", words.count(sizes["bridge"])],
            ["task head", words.count(sizes["head"])],
            [f"old encoder, {_encoder(run, 'old')}", words.count(sizes["old"])],
            [f"new encoder, {_encoder(run, 'new')}", words.count(sizes["new"])],
            ["read by a prediction, without the bridge", words.count(sizes["others_read"])],
        ]))
        trainable = run.settings["bridge"]["trainable"]
        moved = "The bridge alone moves" if trainable == "bridge" else f"What moves: {trainable}"
        blocks.append(Text(
            f"{moved} while it is trained; the teacher's stage before trained the head"
            + (" and the old encoder." if run.settings["head"]["unfrozen"] else ".")
        ))
    if run.stages:
        rows = [
            [name, words.seconds(done["seconds"]), words.scaled(done["peak_memory_bytes"], "B")]
            for name, done in run.stages.items()
        ]
        blocks.append(Table(
            "Stages", ["stage", "time", "peak memory so far"], rows,
            corner="memory of the process on the host, from its start to the end of the stage",
        ))
    return Section("cost", "Parameters and cost", [Side(
        [b for b in blocks if isinstance(b, Table)]
    ), *(b for b in blocks if isinstance(b, Text))]) if blocks else None


def _provenance(run: RunContents) -> Section:
    settings = dict(run.settings)
    sources = settings.pop("sources", {})
    blocks: list[Block] = []
    if run.command is not None:
        blocks.append(Code("Command", run.command))
    blocks.append(Table(
        "Hashes (SHA-256)", ["of", "hash"],
        [["windows", settings["windows_hash"]],
         *([f"{role} encoder's weights", settings[role]["weights_hash"]] for role in ("old", "new"))],
        words=(1,),
    ))
    blocks.append(Text(
        f"{len(sources)} source files; their hashes are in run.json." if sources else
        "The windows come from no source files (simulated, or given as arrays)."
    ))
    blocks.append(Table("Settings", ["name", "value"], [
        list(row) for row in words.flat(settings) if "hash" not in row[0]
    ], words=(1,)))
    blocks.append(Table("Versions", ["package", "version"],
                        [list(row) for row in words.flat(run.record["versions"])], words=(1,)))
    return Section("provenance", "Provenance", blocks)
