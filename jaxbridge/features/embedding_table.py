"""Embeddings of a folder of recordings, one row per window of a lead and representation."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxbridge.data.recordings.lead_windows import LeadWindows
from jaxbridge.features.images import embed_images
from model_ports import Encoder
from model_ports.errors import InputError
from model_ports.representations import Representation

_log = logging.getLogger("jaxbridge")


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Columns of equal length.

    Attributes:
        recording, lead, representation: (rows,) names.
        start_s: (rows,) start of the window in seconds from the start of the recording.
        embedding: (rows, features) float32.
    """

    recording: np.ndarray
    lead: np.ndarray
    representation: np.ndarray
    start_s: np.ndarray
    embedding: np.ndarray

    def write(self, path: Path) -> None:
        """Writes .parquet (a list column `embedding`; needs pyarrow) or .npz (an array each).

        Raises:
            InputError: see `check_writable`, or a place that cannot be written.
        """
        check_writable(path)
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".npz":
                np.savez_compressed(path, **columns)
                return
            import pyarrow as pa
            from pyarrow import parquet

            embedding = columns.pop("embedding")
            listed = pa.FixedSizeListArray.from_arrays(embedding.ravel(), embedding.shape[1])
            parquet.write_table(pa.table({**columns, "embedding": listed}), path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}.") from None


def check_writable(path: Path) -> None:
    """Refuses a name that `EmbeddingTable.write` cannot write, before anything is computed.

    Raises:
        InputError: another ending than .npz or .parquet, or no pyarrow for the latter.
    """
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"{path} must end in .npz or .parquet.")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise InputError(
                "Parquet needs pyarrow: pip install pyarrow, or write an .npz."
            ) from None


def embed_recordings(
    encoder: Encoder, files: Sequence[tuple[str, Callable[[], Sequence[LeadWindows]]]],
    drawn_as: Sequence[str | Representation], *, batch_size: int = 8,
) -> EmbeddingTable:
    """Embeds recordings one after the other, with a line of progress each.

    Args:
        encoder: an encoder of pictures.
        files: names of recordings, and what reads the windows of each.
        drawn_as: names of representations, or representations.
        batch_size: windows per call.

    Raises:
        InputError: no window at all, or see `embed_images`.

    Warns:
        CollapseWarning: the encoder does not tell the windows of a recording apart.
    """
    names = [each if isinstance(each, str) else each.name for each in drawn_as]
    parts = []
    for number, (recording, read) in enumerate(files, 1):
        leads = list(read())
        lengths = {part.signals.shape[1] for part in leads if len(part.signals)}
        embedded = {}
        for samples in sorted(lengths):  # leads of one rate together
            same = [i for i, part in enumerate(leads) if part.signals.shape[1] == samples]
            found = embed_images(
                encoder, np.concatenate([leads[i].signals for i in same]), drawn_as,
                batch_size=batch_size, what=f"embedding {number}/{len(files)}, {recording}",
            )
            ends = np.cumsum([len(leads[i].signals) for i in same])
            embedded |= dict(zip(same, np.split(found, ends[:-1]), strict=True))
        for i, found in sorted(embedded.items()):
            count = len(found)
            parts.append((
                np.full(count * len(names), recording), np.full(count * len(names), leads[i].lead),
                np.tile(names, count), np.repeat(leads[i].start_s, len(names)),
                found.reshape(count * len(names), -1),
            ))
        if not lengths:
            _log.warning("%s: every window touches a gap; it is left out", recording)
    if not parts:
        raise InputError("no recording has a window without a gap; nothing to embed.")
    return EmbeddingTable(*(np.concatenate(column) for column in zip(*parts, strict=True)))
