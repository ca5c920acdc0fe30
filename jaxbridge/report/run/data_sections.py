"""The page's parts on what went in."""

from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import Block, Picture, Section, Side, Table, Text
from jaxbridge.report.page.drawing import svg
from jaxbridge.report.run.contents import RunContents
from jaxbridge.report.run.figures import num_leads_shown, window_figure

_SPLITS = {
    "train": "train (labels fit the teacher)", "val": "validation", "pair": "pairs (no labels used)",
    "test": "test",
}


def transferred(run: RunContents) -> Section:
    settings, about = run.settings, run.about
    roles = ("old", "new")
    rows = [
        ["signal", *(run.signal(role) for role in roles)],
        ["encoder", *(run.encoder(role) for role in roles)],
        ["weights", *(_weights(run, role) for role in roles)],
        ["weights hash", *(settings[role]["weights_hash"][:16] for role in roles)],
    ]
    if about is not None:
        sides = [about["modalities"][role] for role in roles]
        rows += [
            ["rate", *(_rate(side["sampling_rate_hz"]) for side in sides)],
            ["unit", *(side["unit"] for side in sides)],
            ["leads", *(_leads(side) for side in sides)],
            ["window as stored", *(" x ".join(map(str, side["shape"])) for side in sides)],
            ["layers", *(str(about["layers"][role]) for role in roles)],
        ]
    blocks: list[Block] = [
        Text(
            f"A classifier of {run.signal('old')} is reused on {run.signal('new')}. A bridge between "
            "two encoders, which stay as they are while it is trained, learns from simultaneous "
            "windows without labels."
            if settings["bridge"]["trainable"] == "bridge" else
            f"A classifier of {run.signal('old')} is reused on {run.signal('new')} through a "
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
    into = "the task head" if l == run.about["layers"]["old"] else f"old layer {l}"
    how = "given" if run.settings["position"] is not None else "chosen by the scan"
    return Text(f"The bridge reads the output of new layer {m} and writes the input of {into} ({how}).")


def _weights(run: RunContents, role: str) -> str:
    if run.flags is None:
        return "see the hash"
    given = run.flags.get(f"{role}_weights")
    told = "random weights, nothing pretrained" if given is None else str(given)
    if role == "old" and run.head_given and run.settings["head"]["unfrozen"]:
        return f"{told}; trained with the given head"
    return told


def _leads(side: dict) -> str:
    return "not named" if side["leads"] is None else ", ".join(side["leads"])


def _splits(run: RunContents) -> Table:
    splits = run.about["splits"]
    told = {**_SPLITS, **({"train": "train (labels fit the oracle alone)"} if run.head_given else {})}
    rows = [
        [told[name], words.count(splits[name]["subjects"]), words.count(splits[name]["recordings"]),
         words.count(splits[name]["windows"]), *map(words.count, splits[name]["classes"])]
        for name in told if name in splits
    ]
    header = ["split", "subjects", "recordings", "windows", *(f"of {c}" for c in run.classes)]
    return Table("Subjects and windows per split", header, rows)


def examples(run: RunContents) -> Section | None:
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
                run.signal(role), window, side["sampling_rate_hz"], side["unit"], side["leads"] or (),
            ))
            shown, leads = num_leads_shown(window)
            if shown < leads:
                few.append(f"{shown} of {leads} {run.signal(role)} leads")
        whose = ", ".join(filter(None, (
            f"recording {about['recording']}" if "recording" in about else "",
            f"subject {about['subject']}" if "subject" in about else "",
            f"from {about['start_s']:g} s" if "start_s" in about else "",
        )))
        name = run.classes[int(label)]
        pictures.append(Picture(
            svg(window_figure(signals), f"window-{label}",
                f"Simultaneous {run.signal('old')} and {run.signal('new')} of one window of class "
                f"{name}."),
            f"{name}{': ' if whose else ''}{whose}{'; ' if few else ''}{', '.join(few)}",
        ))
    return Section("windows", "Example windows", [
        Text("One pair window of each class, as the encoders get it. SD: standard deviations."),
        Side(pictures),
    ])


def _rate(rate_hz: float) -> str:
    return f"{rate_hz:g} Hz" if rate_hz else "not stated"
