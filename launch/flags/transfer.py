"""Flags of scripts that train a bridge: where it sits, and a head that was fitted before."""

import pathlib
import re

from absl import flags

import model_ports as mp
from jaxbridge.saved_head import SavedHead, load_head
from launch.flags.given import refuse

POSITION = flags.DEFINE_string(
    "position", "scan", "'scan', or m,l: new layer output m into old layer input l (or 'head')."
)
HEAD = flags.DEFINE_string(
    "head", None, "Folder of a head that launch.fit_head saved, in place of fitting one; {seed} in it "
    "stands for the seed."
)
_OF_FITTING = (
    "unfrozen", "head_hidden", "head_lr", "head_epochs", "head_batch_size", "balance", "class_weights",
    "standardise", "head_patience", "batch_statistics", "head_dropout",
)
flags.register_validator(
    "position", lambda text: re.fullmatch(r"scan|\d+, *(\d+|head)", text) is not None,
    "give 'scan', or two layer numbers such as 7,2, or 7,head.",
)


def check_head() -> None:
    """Refuses, beside --head, flags that say how a head is fitted (`InputError`)."""
    if HEAD.value is not None:
        refuse(_OF_FITTING, "says how a head is fitted, and --head gives one")


def position(old: mp.Encoder) -> tuple[int, int] | None:
    """Returns (m, l), None for a scan."""
    if POSITION.value == "scan":
        return None
    m, l = POSITION.value.split(",")  # noqa: E741
    return int(m), old.num_layers if l.strip() == "head" else int(l)


def given_head(old: mp.Encoder, seed: int) -> SavedHead | None:
    """Returns the head of --head, None without the flag.

    Raises:
        InputError: see `load_head`.
    """
    if HEAD.value is None:
        return None
    return load_head(pathlib.Path(HEAD.value.replace("{seed}", str(seed))), old)
