"""SHA-256 of source files: what a window store says it was made from."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model_ports.errors import InputError


def sha256_of_files(folder: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Digests of files, several at a time.

    Args:
        folder: that the names are relative to.
        names: with forward slashes; a name given twice counts once.

    Returns:
        name -> SHA-256 in hexadecimal digits, sorted by name.

    Raises:
        InputError: a file cannot be read.
    """
    folder, names = Path(folder), sorted(set(names))
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing leaves the interpreter's lock
        return dict(zip(names, threads.map(lambda name: _sha256(folder / name), names), strict=True))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its rights.") from error
