"""From a data set and a split rule to a window store.

Recordings are prepared one by one into parts on disk, in worker processes, and the store is written
from the parts: meanwhile where the split rule need not see the windows, else once all are there. So
memory holds one recording per worker, a killed run goes on with the recordings that are left, and a bad
recording costs no other. Until the store is finished its parts lie beside it, so up to twice its size
is needed on disk (less where windows overlap, or lie in the sources as they are).
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxbridge.data.dataset import Dataset
from jaxbridge.data.recording_parts import Part, PartWriter, part_name, parts_folder
from jaxbridge.data.splits import SplitRule, WindowIndex
from jaxbridge.data.splits.leakage import check_leakage
from jaxbridge.data.store import WindowBatch, WindowStore, check_free, open_same, write_store
from jaxbridge.data.worker_pool import WorkerPool
from jaxbridge.progress import progress
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")
# So many bad recordings are rather a wrong setting: no use in trying the rest.
_MOST_BAD = 5


def prepare(
    path: str | Path,
    dataset: Dataset,
    split: SplitRule,
    *,
    workers: int = 0,
    skip: Collection[str] = (),
) -> tuple[WindowStore, bool]:
    """Opens the finished store of a data set and a split rule, or prepares it.

    The store's windows lie by recording, within it by split in the order of `split.sizes`, within
    that by time. Windows without a split are not stored; where the rule knows them beforehand, their
    recordings are not even read. `store.split_report` has "windows" (per split), "subjects" (names
    per split), "overlap" (see `check_leakage`) and "notes" (per recording, see `WindowBatch`).

    Args:
        path: folder of the store.
        dataset: what to read.
        split: how to split it.
        workers: processes that read; 0 reads in this one. The store is the same to the bit.
        skip: recordings to leave out; the description names them.

    Returns:
        The store, and whether it was written now.

    Raises:
        InputError: bad recordings, by name (the others are kept for the next run); a split that is
            not possible or has windows that overlap those of another; a folder that holds something
            else, is in use or cannot be written.
    """
    path = Path(path)
    recordings = _chosen(dataset, skip)
    known = split.known_before(recordings)
    if known is not None:
        recordings = {name: recordings[name] for name in sorted(known)}
    finished = (path / "metadata.json").exists()
    # Workers import while sources are digested.
    with WorkerPool(0 if finished else workers, preload=dataset) as pool:
        described = json.loads(json.dumps(dataset.metadata, allow_nan=False))
        sources = {name: _sources(dataset, described, name) for name in recordings}
        metadata = {
            **described,
            "sources": {file: digest for some in sources.values() for file, digest in some.items()},
            "split": split.metadata(described["window_s"]),
            **({"skipped": sorted(skip)} if skip else {}),
        }
        if finished:
            return open_same(path, metadata), False
        check_free(path)
        names = {name: part_name(described, name, some) for name, some in sources.items()}
        with parts_folder(path) as folder:
            writer = PartWriter(dataset, tuple(described["class_names"]), folder, names)
            with contextlib.closing(_prepared(writer, pool)) as prepared:
                store = _put_together(path, writer, prepared, recordings, metadata, split, known)
            if workers:
                _tell_notes(writer)
            shutil.rmtree(folder)
        return store, True


def _chosen(dataset: Dataset, skip: Collection[str]) -> dict[str, str]:
    recordings = {name: dataset.recordings[name] for name in sorted(dataset.recordings)}
    if unknown := sorted(set(skip) - set(recordings)):
        raise InputError(
            f"There is no recording {', '.join(unknown)} to skip. There are: "
            f"{', '.join(recordings)}."
        )
    chosen = {name: subject for name, subject in recordings.items() if name not in skip}
    if not chosen:
        raise InputError("No recordings are left. Check the folder, and what is skipped.")
    return chosen


def _sources(dataset: Dataset, described: Mapping, recording: str) -> dict[str, str]:
    return {name: described["sources"][name] for name in dataset.sources_of(recording)}


def _prepared(writer: PartWriter, pool: WorkerPool) -> Iterator[str]:
    """Prepares what is missing; yields each recording once its part is there.

    Raises:
        InputError: bad recordings, once the others are prepared.
    """
    todo = [name for name in writer.names if writer.part(name) is None]
    for name in todo:
        shutil.rmtree(writer.folder / writer.names[name], ignore_errors=True)  # damaged
    before = [name for name in writer.names if name not in todo]
    if before:
        _log.info("%d of %d recordings were prepared before", len(before), len(writer.names))
    yield from before
    bad: dict[str, str] = {}
    ended = pool.run(writer, todo)
    shown = progress(ended, total=len(todo), what="preparing recordings", unit="recording")
    try:
        for name, trouble in shown:
            if trouble is None:
                yield name
                continue
            _log.error("%s", trouble)
            bad[name] = trouble
            if len(bad) == _MOST_BAD:
                break
    finally:
        shown.close()
        ended.close()
    if bad:
        others = f" (also bad: {', '.join(list(bad)[1:])})" if len(bad) > 1 else ""
        raise InputError(
            f"{next(iter(bad.values()))}{others} Mend it, or leave it out with "
            f"--skip={','.join(bad)}, and run again: recordings that were prepared are kept."
        )


def _tell_notes(writer: PartWriter) -> None:
    """Logs what workers did to recordings: their own logs are not seen."""
    for name in writer.names:
        if summary := writer.part(name).notes.get("summary"):
            _log.info("%s: %s", name, summary)


def _put_together(
    path: Path, writer: PartWriter, prepared: Iterator[str], recordings: Mapping[str, str],
    metadata: Mapping, split: SplitRule, known: Mapping[str, str] | None,
) -> WindowStore:
    parts: dict[str, Part] = {}
    report: dict[str, object] = {}

    def opened(name: str) -> Part:
        """The part of a recording, as soon as it is there."""
        while name not in parts:
            ready = next(prepared)
            parts[ready] = writer.part(ready)
        return parts[name]

    def batches() -> Iterator[WindowBatch]:
        if known is None or split.pair_fraction != 1:
            for name in recordings:
                opened(name)
            splits = _splits(parts, recordings, metadata, split, known, report)
            for name in progress(list(recordings), what="writing windows", unit="recording"):
                for wanted in split.sizes:
                    yield _batch(
                        parts[name], name, recordings[name], wanted,
                        np.flatnonzero(splits[name] == wanted),
                    )
        else:
            for name, subject in recordings.items():
                part = opened(name)
                yield _batch(part, name, subject, known[name], np.arange(len(part.labels)))
            for _ in prepared:  # raises where a recording was bad
                pass
            _splits(parts, recordings, metadata, split, known, report)

    return write_store(path, batches(), metadata, split_report=report, scratch=writer.folder)


def _batch(part: Part, name: str, subject: str, split: str, indices: np.ndarray) -> WindowBatch:
    return WindowBatch(
        part.arrays(indices), part.labels[indices], subject, name, split, part.start_s[indices]
    )


def _splits(
    parts: Mapping[str, Part], recordings: Mapping[str, str], metadata: Mapping, split: SplitRule,
    known: Mapping[str, str] | None, report: dict[str, object],
) -> dict[str, np.ndarray]:
    """Splits of the windows of each recording; what became of the rule goes into `report`."""
    parts = {name: parts[name] for name in recordings}
    counts = {name: len(part.labels) for name, part in parts.items()}
    if not sum(counts.values()):
        raise InputError("No windows: there is nothing to store. Check recordings and window_s.")
    if empty := [name for name, count in counts.items() if not count]:
        _log.warning("no window in %s", ", ".join(empty))
    repeats = list(counts.values())
    index = WindowIndex(
        recordings=np.repeat(list(recordings), repeats),
        subjects=np.repeat(list(recordings.values()), repeats),
        labels=np.concatenate([part.labels for part in parts.values()]),
        start_s=np.concatenate([part.start_s for part in parts.values()]),
        window_s=metadata["window_s"],
    )
    splits = split.assign(index, known)
    report["windows"] = {name: int(np.count_nonzero(splits == name)) for name in split.sizes}
    report["subjects"] = {
        name: np.unique(index.subjects[splits == name]).tolist() for name in split.sizes
    }
    report["overlap"] = check_leakage(index, splits, allowed=split.rule == "paper")
    report["notes"] = {name: part.notes for name, part in parts.items() if part.notes}
    return dict(zip(parts, np.split(splits, np.cumsum(repeats)[:-1]), strict=True))
