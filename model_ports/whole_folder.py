"""Folders that are whole or absent."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

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
            new = aside / "new"
            new.mkdir()
            yield new
            if path.exists():
                path.rename(aside / "old")  # deleting it takes longer and may be interrupted
            new.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {what} to {path}: {reason}.") from None
