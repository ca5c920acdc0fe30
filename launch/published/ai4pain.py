"""AI4PAIN by `launch.reproduce`: single pictures, modalities and fusions, beside the published."""

import pathlib
from collections.abc import Sequence

from jaxbridge import HeadSettings
from jaxbridge.data.published.ai4pain import Ai4Pain
from jaxbridge.data.published.simulated_ai4pain import write_ai4pain
from jaxbridge.fusion.ai4pain import ai4pain_table, text
from jaxbridge.run_folder import write_json
from launch.published.encoders import study_encoder
from model_ports.errors import InputError

NAME = "ai4pain"


def check(data: str | None, checkpoints: str | None, *, simulate: bool, random: bool) -> None:
    """Refuses what is missing, before anything is read (`InputError`)."""
    if simulate:
        if data or checkpoints:
            raise InputError("--simulate makes its own data and weights: leave out the others.")
        return
    if data is None:
        raise InputError(
            "--data is not given: name the folder with AI4PAIN, or give --simulate.\n"
            + Ai4Pain.how_to_get()
        )
    if (checkpoints is None) != random:
        raise InputError(
            f"{NAME} needs the pretrained weights of tiny_biomoe: name their folder with "
            "--checkpoints, or give --random_weights for a run without (not both)."
        )


def reproduce(
    out: pathlib.Path, data: str | None, checkpoints: str | None, *, simulate: bool,
    seeds: Sequence[int], dtype: str,
) -> str:
    """Writes out/table.json and returns the table as Markdown.

    Args:
        out: folder of the study; the pictures' embeddings in it are kept.
        data: folder of the files.
        checkpoints: folder of weights; None for random ones.
        simulate: small files, a small encoder, one representation and few epochs: a dry run.
        seeds: one fit of every classifier each.
        dtype: compute type of the encoder.
    """
    options = {}
    if simulate:
        data = out / "simulated"
        if not data.exists():
            aside = out / ".simulated.partial"
            write_ai4pain(aside, {"train": 4, "validation": 2}, trials=3, baseline_s=28.0)
            aside.rename(data)
        options = {"drawn_as": ("waveform",), "head": HeadSettings(epochs=2), "held_out": 0.25}
    encoder = study_encoder(
        "tiny_biomoe", (), checkpoints=checkpoints, small=simulate, seed=0, dtype=dtype
    )
    rows = ai4pain_table(Ai4Pain(data), encoder, out / "features", seeds=seeds, **options)
    write_json(out / "table.json", rows)
    return text(rows)
