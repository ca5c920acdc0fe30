"""A page as a browser would take it apart."""

import re
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br", "hr", "input"}
_LINKS = ("src", "href", "xlink:href", "action", "data", "poster", "srcset")


class Parsed(HTMLParser):
    """Tags, tables and links of a page; asserts that its tags are nested.

    Attributes:
        headings: text of the <h2>.
        tables: caption -> rows of cell texts, the header first.
        links: (attribute, value) of everything that points somewhere.
        ids: of all elements.
        tags: (name, attributes) in order.
        text: all text outside of <style>.
    """

    def __init__(self, page: str):
        super().__init__()
        self.headings, self.tables, self.links, self.ids, self.tags = [], {}, [], [], []
        self.text, self._open, self._cell, self._rows, self._caption = "", [], "", [], ""
        self.styles = ""
        self.feed(page)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.links += [(name, found[name]) for name in _LINKS if name in found]
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td", "caption", "h2"):
            self._cell = ""

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, (tag, self._open[-5:], self.getpos())
        self._open.pop()
        text = re.sub(r"[ \t\n]+", " ", self._cell).strip()
        if tag in ("th", "td"):
            self._rows[-1].append(text)
        elif tag == "caption":
            self._caption = text
        elif tag == "h2":
            self.headings.append(text)
        elif tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            self.styles += data
            return
        self._cell += data
        self.text += data

    def table(self, start: str) -> list[list[str]]:
        """Returns the rows of the table whose caption starts so."""
        rows, = (rows for caption, rows in self.tables.items() if caption.startswith(start))
        return rows

    def column(self, start: str, name: str) -> dict[str, str]:
        """Returns row heading -> cell of a table's column."""
        header, *rows = self.table(start)
        return {row[0]: row[header.index(name)] for row in rows}


def check_page(page: str) -> Parsed:
    """Asserts that a page needs nothing from elsewhere and can be read without eyes."""
    parsed = Parsed(page)
    for name, value in parsed.links:
        assert value.startswith("#" if "href" in name else "data:image/png;base64,"), (name, value[:80])
    assert "url(" not in parsed.styles and "@import" not in parsed.styles
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object", "link"}
    assert len(set(parsed.ids)) == len(parsed.ids)
    targets = [value[1:] for _, value in parsed.links if value.startswith("#")]
    targets += re.findall(r"url\(#([^)]+)\)", page)
    assert targets and set(targets) <= set(parsed.ids)
    for tag, found in parsed.tags:
        if tag == "img":
            assert found["alt"]
        elif tag == "svg":
            assert found["role"] == "img" and found["aria-label"]
        elif tag == "th":
            assert found["scope"] in ("row", "col")
    tables = [rows for rows in parsed.tables.values()]
    assert tables and all(len({len(row) for row in rows}) == 1 for rows in tables)
    return parsed
