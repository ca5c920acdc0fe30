"""What a page consists of."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup


class Shaded(NamedTuple):
    """A cell with a background of `share` (0 to 1) of the accent colour; the text says it too."""

    text: str
    share: float


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that scrolls in its own box.

    Attributes:
        caption: what it shows.
        header: column headings.
        rows: cells; the first of a row is its heading.
        words: columns that are left-aligned beside the first; numbers are aligned right.
        corner: what the columns and rows of a matrix are, above the headings.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Shaded]]
    words: Sequence[int] = ()
    corner: str = ""
    kind: str = dataclasses.field(default="table", init=False)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        markup: an <svg> or <img> with its alternative text.
        caption: below it.
        card: keep a white background in dark mode.
        wide: take the page's width, and scroll in its own box where that is too narrow.
    """

    markup: Markup
    caption: str
    card: bool = False
    wide: bool = False
    kind: str = dataclasses.field(default="picture", init=False)


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = dataclasses.field(default="text", init=False)


@dataclasses.dataclass(frozen=True)
class Code:
    """Something to type, with a title."""

    title: str
    text: str
    kind: str = dataclasses.field(default="code", init=False)


@dataclasses.dataclass(frozen=True)
class Side:
    """Blocks side by side where there is room."""

    blocks: Sequence["Table | Picture"]
    kind: str = dataclasses.field(default="side", init=False)


Block = Table | Picture | Text | Code | Side


class Section(NamedTuple):
    """A titled part of a page.

    Attributes:
        id: anchor.
        title: heading.
        blocks: in order.
    """

    id: str
    title: str
    blocks: Sequence[Block]


class Tile(NamedTuple):
    """A figure that a reader looks for first."""

    label: str
    value: str
    note: str = ""


class Page(NamedTuple):
    """A whole page."""

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
