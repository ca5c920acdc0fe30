"""A folder of recordings to a table of embeddings, by way of pictures (Tiny-BioMoE).

    python -m launch.embed --data=DIR --weights=weights/tiny_biomoe --out=table.npz
    python -m launch.embed --data=DIR --weights=... --out=table.parquet --picture=seen.png

Every window of every lead is drawn in every representation and embedded: columns recording, lead,
representation, start_s and embedding. Files may be EDF, BDF, WFDB (.hea), MAT, HDF5, NPZ, CSV, TSV or
text; --picture shows the first windows of the first recording's leads.
"""

import functools
import logging
import pathlib

from absl import flags
from flax import nnx

import model_ports as mp
from jaxbridge.data.recordings.description import Gaps
from jaxbridge.data.recordings.lead_windows import LeadWindows, lead_windows, recording_files
from jaxbridge.features.embedding_table import check_writable, embed_recordings
from launch.flags.seeds import writable
from launch.script import run
from model_ports.representations import REPRESENTATIONS, Representation, drawn_signals

_DATA = flags.DEFINE_string("data", None, "Folder with recordings.", required=True)
_OUT = flags.DEFINE_string("out", None, "Table to write, .npz or .parquet.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder that `convert` wrote; else random.")
_REPRESENTATIONS = flags.DEFINE_list("representations", list(REPRESENTATIONS), "How to draw.")
_WINDOW = flags.DEFINE_float("window_s", 10.0, "Length of windows.", lower_bound=0.0)
_STEP = flags.DEFINE_float("step_s", None, "Distance of windows; --window_s if left out.")
_LEADS = flags.DEFINE_list("leads", [], "Leads to read; all if left out.")
_RATE = flags.DEFINE_float("sampling_rate_hz", None, "For files that do not state their rate.")
_FRAME = flags.DEFINE_integer("frame_samples", None, "Samples per frame of a spectrogram.")
_COLORS = flags.DEFINE_string("color_map", "viridis", "Of all representations but the waveform.")
_GAPS = flags.DEFINE_enum("gaps", "refuse", ["refuse", "drop"], "Windows that touch NaN.")
_PICTURE = flags.DEFINE_string("picture", None, "Where to draw what the encoder sees.")
_BATCH = flags.DEFINE_integer("batch_size", 8, "Windows per call.", lower_bound=1)
_ROWS = 6  # of the picture

_log = logging.getLogger("jaxbridge")


def main() -> None:
    folder, out = pathlib.Path(_DATA.value), pathlib.Path(_OUT.value)
    check_writable(out)
    files = recording_files(folder)
    encoder = _encoder()
    drawn = [_drawn(encoder, name) for name in _REPRESENTATIONS.value]
    if _PICTURE.value:
        _draw(folder, files[0], drawn, pathlib.Path(_PICTURE.value))
    table = embed_recordings(
        encoder,
        [(path.relative_to(folder).as_posix(), functools.partial(_read, path)) for path in files],
        drawn, batch_size=_BATCH.value,
    )
    table.write(out)
    print(
        f"{len(table.embedding):,} embeddings of {table.embedding.shape[1]} numbers from "
        f"{len(files)} recordings in {out}"
    )


def _encoder() -> mp.Encoder:
    if _WEIGHTS.value is not None:
        return mp.load(_WEIGHTS.value)
    _log.warning("tiny_biomoe: random weights (seed 0), nothing pretrained; see --weights")
    return mp.create("tiny_biomoe", rngs=nnx.Rngs(0))


def _drawn(encoder: mp.Encoder, name: str) -> Representation:
    settings = {} if name == "waveform" else {"color_map": _COLORS.value}
    if name.startswith("spectrogram") and _FRAME.value is not None:
        settings["frame_samples"] = _FRAME.value
    return drawn_signals(encoder, name, **settings).config.drawn_as


def _read(path: pathlib.Path) -> list[LeadWindows]:
    return list(lead_windows(
        path, _WINDOW.value, _WINDOW.value if _STEP.value is None else _STEP.value,
        leads=tuple(_LEADS.value), sampling_rate_hz=_RATE.value,
        rule=Gaps(interpolate_up_to_s=0.0, longer=_GAPS.value),
    ))


def _draw(
    folder: pathlib.Path, file: pathlib.Path, drawn: list[Representation], picture: pathlib.Path
) -> None:
    from jaxbridge.report.representations_figure import representations_figure

    name = file.relative_to(folder).as_posix()
    seen = [part for part in _read(file) if len(part.signals)][:_ROWS]
    if not seen:
        raise mp.InputError(f"{name} has no window without a gap to draw.")
    figure = representations_figure([(f"{name}\n{p.lead}", p.signals[0]) for p in seen], drawn)
    with writable(picture.parent):
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=150)
    print(f"Picture: {picture}")


if __name__ == "__main__":
    run(main)
