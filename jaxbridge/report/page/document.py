"""A page as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

import functools
import os
import pathlib

import jinja2

from jaxbridge.report.page.blocks import Page

_HERE = pathlib.Path(__file__).parent


def render(page: Page) -> str:
    """Returns the page as HTML; all text in it is escaped."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    return _environment().get_template("page.html.j2").render(page=page, style=style)


def write_page(path: pathlib.Path, page: Page) -> pathlib.Path:
    """Writes the page, whole or not at all, and returns its path."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(render(page), encoding="utf-8")
    os.replace(aside, path)
    return path


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )
