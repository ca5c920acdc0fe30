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
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield aside
            aside.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            aside.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {what} to {path}: {reason}.") from None
