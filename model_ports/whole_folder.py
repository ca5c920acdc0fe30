"""Folders that are whole or absent."""

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Iterator

from safetensors import SafetensorError

from model_ports.errors import InputError


@contextlib.contextmanager
def whole_folder(path: pathlib.Path, what: str) -> Iterator[pathlib.Path]:
    """Gives a folder to fill, which is renamed to `path` at the end, in place of what is there.

    Args:
        path: the folder; its parents are made.
        what: for the message, such as "the encoder".

    Raises:
        InputError: it cannot be written, or the current folder is in it.
    """
    try:
        path = path.resolve()  # of a link, what it points to is replaced
        if path.exists() and pathlib.Path.cwd().is_relative_to(path):
            raise InputError(
                f"{path} is the current folder or holds it, so {what} cannot take its place; "
                "name a folder in it, or start elsewhere."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            new, old = aside / "new", aside / "old"
            new.mkdir()
            yield new
            try:
                if path.exists():
                    path.rename(old)  # deleting it takes longer and may be interrupted
                new.rename(path)
            except BaseException:
                if old.exists() and not path.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # a full disk is the latter where weights are written
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {what} to {path}: {reason}.") from None


def has_format(path: str | pathlib.Path, name: str) -> bool:
    """Tells whether `path` is a folder whose config.json says that it is of this format."""
    try:
        return json.loads((pathlib.Path(path) / "config.json").read_text())["format"] == name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_replaceable(
    path: str | pathlib.Path, what: str, form: str, names: Collection[str]
) -> None:
    """Refuses a folder in whose place something would be lost that was not saved as one of its kind.

    Args:
        path: the folder; it may be absent or empty.
        what: for the message, such as "encoder".
        form: format of such folders, see `has_format`.
        names: of the files and folders in one.

    Raises:
        InputError: as above.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return
    if not (path.is_dir() and (has_format(path, form) or not any(path.iterdir()))):
        raise InputError(f"{path} exists and is no saved {what}; choose another folder.")
    if others := sorted(file.name for file in path.iterdir() if file.name not in names):
        raise InputError(
            f"{path} also holds {', '.join(others)}, which saving would delete; move that, or "
            "choose another folder."
        )
