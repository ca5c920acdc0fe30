"""The tables of a page as Markdown, for a README, an issue or a terminal."""

from collections.abc import Iterator, Sequence

from jaxbridge.report.page.blocks import Block, Section, Shaded, Side, Table


def tables(sections: Sequence[Section]) -> str:
    """Returns every table of the sections under its caption; "" if there are none."""
    return "\n\n".join(
        _table(block) for section in sections for block in _flat(section.blocks)
        if isinstance(block, Table)
    )


def _flat(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Side):
            yield from block.blocks
        else:
            yield block


def _table(table: Table) -> str:
    left = {0, *table.words}
    rule = [":--" if i in left else "--:" for i in range(len(table.header))]
    lines = [_line(table.header), _line(rule), *map(_line, table.rows)]
    return "\n".join([f"**{table.caption}**", "", *lines])


def _line(cells: Sequence[str | Shaded]) -> str:
    texts = (cell.text if isinstance(cell, Shaded) else cell for cell in cells)
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
