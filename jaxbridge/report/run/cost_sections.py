"""The page's parts on what a run took and how to get it again."""

from jaxbridge.report.page import words
from jaxbridge.report.page.blocks import Block, Code, Section, Side, Table, Text
from jaxbridge.report.run.contents import RunContents


def cost(run: RunContents) -> Section | None:
    blocks: list[Block] = []
    if run.about is not None:
        sizes = run.about["parameters"]
        blocks.append(Table("Parameters", ["part", "parameters"], [
            ["bridge", words.count(sizes["bridge"])],
            ["task head", words.count(sizes["head"])],
            [f"old encoder, {run.encoder('old')}", words.count(sizes["old"])],
            [f"new encoder, {run.encoder('new')}", words.count(sizes["new"])],
            ["read by a prediction, without the bridge", words.count(sizes["others_read"])],
        ]))
        trainable = run.settings["bridge"]["trainable"]
        moved = "The bridge alone moves" if trainable == "bridge" else f"What moves: {trainable}"
        fitted = "the head and the old encoder" if run.settings["head"]["unfrozen"] else "the head"
        blocks.append(Text(f"{moved} while it is trained; " + (
            f"{fitted} came fitted to labels (--head)." if run.head_given else
            f"the teacher's stage before trained {fitted}."
        )))
    if run.stages:
        rows = [
            [name, words.seconds(done["seconds"]) + ("*" if done.get("resumed") else ""),
             words.scaled(done["peak_memory_bytes"], "B")]
            for name, done in run.stages.items()
        ]
        blocks.append(Table(
            "Stages", ["stage", "time", "peak memory so far"], rows,
            corner="memory of the process on the host, from its start to the end of the stage",
        ))
        if any(done.get("resumed") for done in run.stages.values()):
            blocks.append(Text("* Since it went on after an interruption; the time before is lost."))
    return Section("cost", "Parameters and cost", [Side(
        [b for b in blocks if isinstance(b, Table)]
    ), *(b for b in blocks if isinstance(b, Text))]) if blocks else None


def provenance(run: RunContents) -> Section:
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
    groups = {
        title: settings.pop(key) for title, key in (
            ("Head", "head"), ("Bridge", "bridge"), ("Old encoder", "old"), ("New encoder", "new"))
    }
    blocks.append(Side([
        Table(title, ["name", "value"], [
            list(row) for row in words.flat(group) if "hash" not in row[0]
        ], words=(1,))
        for title, group in {"Run": settings, **groups}.items()
    ]))
    blocks.append(Table("Versions", ["package", "version"],
                        [list(row) for row in words.flat(run.record["versions"])], words=(1,)))
    return Section("provenance", "Provenance", blocks)
