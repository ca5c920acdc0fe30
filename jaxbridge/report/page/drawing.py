"""Figures that follow the page: its font, and its colours in light and dark.

Colours are Okabe and Ito's, darkened where 3:1 against white asks for it, so that people who are
colour-blind tell them apart; series differ in marker and dash too, for greyscale.
"""

import base64
import html
import io
import re

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

PAPER, INK, MUTED, LINE = "#ffffff", "#1a1a1a", "#555555", "#d4d4d4"
SERIES = ("#0072b2", "#c04e00", "#00805d", "#8a4a86", "#6b6b6b", "#946200")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")

_VARIABLES = {
    PAPER: "--paper", INK: "--ink", MUTED: "--muted", LINE: "--line",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES)},
}
styled = mpl.rc_context({
    "font.size": 9, "font.family": "DejaVu Sans", "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": MUTED, "axes.facecolor": "none", "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 9, "axes.titlelocation": "left",
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE, "grid.linewidth": 0.6,
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.5, "lines.markersize": 5,
    "figure.facecolor": "none", "savefig.facecolor": "none", "hatch.color": MUTED,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names of leads and methods are no formulas, whatever is in them
})
"""Decorates functions that draw."""


def svg(figure: Figure, name: str, alt: str) -> Markup:
    """Returns a figure as <svg> for a page.

    Args:
        figure: drawn under `styled`.
        name: unlike those of the page's other figures; ids start with it.
        alt: what it shows, for who cannot see it.
    """
    buffer = io.StringIO()
    # Text stays text: the page's font, and a screen reader, can take it.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"(font: [^;\"]*?\d+(?:\.\d+)?px) [^;\"]*", r"\1 var(--sans)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    size = re.search(r'viewBox="([^"]*)"', text).group(1)
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{size}" role="img" aria-label="{html.escape(alt)}">'
    )
    return Markup(start + text[text.index(">") + 1 :].strip())


def png(content: bytes, alt: str) -> Markup:
    """Returns a PNG file's content as <img>."""
    data = base64.b64encode(content).decode()
    return Markup(f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">')
