"""Folders and files of a published data set."""

from collections.abc import Collection, Iterable
from pathlib import Path

from model_ports.errors import InputError


def existing_folder(folder: str | Path, how_to_get: str) -> Path:
    """Returns the folder.

    Raises:
        InputError: there is none; the message tells where to get the data.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.\n{how_to_get}")
    return path


def leave_out(subjects: Collection[str], without: Iterable[str], folder: Path) -> list[str]:
    """Returns the subjects that are left, sorted.

    Raises:
        InputError: one to leave out is not there; none is left.
    """
    if unknown := sorted(set(without) - set(subjects)):
        raise InputError(
            f"{folder} has no subject {', '.join(unknown)} to leave out. It has "
            f"{', '.join(sorted(subjects))}."
        )
    if not (left := sorted(set(subjects) - set(without))):
        raise InputError(f"No subject of {folder} is left. Leave out fewer.")
    return left
