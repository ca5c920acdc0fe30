"""Published weights by name: from a cache folder, filled by hand or from the network."""

import hashlib
import os
import pathlib
import shutil
import tempfile
import urllib.error
import urllib.request
from typing import Any

from model_ports.checkpoint import from_checkpoint
from model_ports.encoder import Encoder
from model_ports.errors import InputError
from model_ports.sources import PublishedFile, Source, sources

_TIMEOUT_S = 60.0
_CHUNK = 1 << 20


def cache_folder(name: str) -> pathlib.Path:
    """Returns where files of an encoder are kept: $JAXBRIDGE_CACHE or ~/.cache/jaxbridge."""
    root = os.environ.get("JAXBRIDGE_CACHE") or pathlib.Path.home() / ".cache" / "jaxbridge"
    return pathlib.Path(root) / name


def from_pretrained(name: str, file: str | None = None, **config_overrides: Any) -> Encoder:
    """Returns an encoder with its published weights, downloaded once.

    Args:
        name: one of `available()`.
        file: which of `sources(name).files`, by name; None for one that is in the cache already,
            else the first.
        **config_overrides: configuration fields, as for `from_checkpoint`.

    Raises:
        InputError: no network (the message says which file to put where), a checksum that
            differs, or whatever `from_checkpoint` refuses.
    """
    return from_checkpoint(name, pretrained_file(name, file), **config_overrides)


def pretrained_file(name: str, file: str | None = None) -> pathlib.Path:
    """Returns the path of a published file in the cache, downloading it where it is not there."""
    source, folder = sources(name), cache_folder(name)
    names = [f.name for f in source.files]
    if file is not None and file not in names:
        raise InputError(f"{name} has no published file {file!r}; there are {', '.join(names)}.")
    there = [f for f in source.files if (folder / f.name).exists() and file in (None, f.name)]
    wanted = there[0] if there else source.files[names.index(file) if file else 0]
    path = folder / wanted.name
    if not there:
        _download(source, wanted, path)
    _check(wanted, path)
    return path


def _download(source: Source, file: PublishedFile, path: pathlib.Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # companions first: a file that is there counts as complete
        for name in (*file.companions, file.name):
            (_from_hub if file.hub else _from_url)(file, name, path.parent)
    except InputError:
        raise
    except Exception as error:
        others = "".join(f" and {name} beside it" for name in file.companions)
        raise InputError(
            f"{file.name} of {source.encoder} could not be downloaded ({_reason(error)}). "
            f"Where there is a network, download {file.url} "
            f"({source.licence}; see {source.page}), put it at {path}{others}, and try again. "
            "$JAXBRIDGE_CACHE names another folder than ~/.cache/jaxbridge."
        ) from None


def _from_hub(file: PublishedFile, name: str, folder: pathlib.Path) -> None:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            f"downloading {file.name} needs huggingface_hub: pip install 'jaxbridge[convert]'. "
            f"Or download {file.url} by hand and put it at {folder / file.name}."
        ) from None
    # the hub's own cache keeps partial downloads; ours gets the whole file
    got = huggingface_hub.hf_hub_download(repo_id=file.hub, filename=name)
    _place(pathlib.Path(got).open("rb"), folder / name)


def _from_url(file: PublishedFile, name: str, folder: pathlib.Path) -> None:
    del name  # files by link have no companions
    request = urllib.request.Request(file.url, headers={"User-Agent": "jaxbridge"})
    _place(urllib.request.urlopen(request, timeout=_TIMEOUT_S), folder / file.name)


def _place(stream: Any, path: pathlib.Path) -> None:
    """Copies a stream to `path`, which appears only when it is whole."""
    expected = getattr(stream, "length", None)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with stream, open(handle, "wb") as out:
            shutil.copyfileobj(stream, out, _CHUNK)
            size = out.tell()
        if expected is not None and size != expected:
            raise OSError(f"the connection ended after {size:,} of {expected:,} bytes")
        os.replace(aside, path)
    finally:
        pathlib.Path(aside).unlink(missing_ok=True)


def _check(file: PublishedFile, path: pathlib.Path) -> None:
    """Compares with the published checksum; without one, with that of the first time."""
    if file.checksum is not None:
        algorithm, _, wanted = file.checksum.partition(":")
        found = _digest(path, algorithm)
        origin, remedy = "published", "Delete it and try again."
    else:
        record = path.with_name(f"{path.name}.sha256")
        found = _digest(path, "sha256")
        if not record.exists():
            try:
                record.write_text(f"{found}  {path.name}\n")
            except OSError:  # a cache that others fill, read-only here
                return
        wanted = record.read_text().split()[0]
        origin = f"recorded in {record.name}"
        remedy = f"If you replaced it on purpose, delete {record.name}; else the file; and try again."
    if found != wanted:
        raise InputError(
            f"{path} is damaged or another file: its checksum is {found}, {origin} is {wanted}. "
            f"{remedy}"
        )


def _digest(path: pathlib.Path, algorithm: str) -> str:
    if algorithm == "git-sha1":
        # git identifies content by a hash over its length and its bytes
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return f"{type(error).__name__}: {error}".splitlines()[0]
