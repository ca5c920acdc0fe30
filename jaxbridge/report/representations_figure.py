"""What an encoder of pictures sees of signals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from model_ports.representations import Representation, represent


def representations_figure(
    signals: Sequence[tuple[str, np.ndarray]], drawn_as: Sequence[Representation]
) -> Figure:
    """A row per signal, a column per representation.

    Args:
        signals: titles, and (samples,) each.
        drawn_as: representations.
    """
    figure = Figure(figsize=(1.9 * len(drawn_as), 0.3 + 2 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), len(drawn_as), squeeze=False)
    for row, (title, signal) in zip(axes, signals, strict=True):
        for place, each in zip(row, drawn_as, strict=True):
            place.imshow(np.asarray(represent(signal[None], each))[0].transpose(1, 2, 0))
            place.set(xticks=[], yticks=[])
        row[0].set_ylabel(title, fontsize=8, parse_math=False)
    for place, each in zip(axes[0], drawn_as, strict=True):
        place.set_title(each.name.replace("_", " "), fontsize=9)
    return figure
