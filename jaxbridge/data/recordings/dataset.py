"""Described recordings as a data set; see `data.dataset.Dataset` and `description`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.signal  # noqa: F401  loaded before workers are forked, not in each

from jaxbridge.data.checks import check_durations
from jaxbridge.data.digests import sha256_of_files
from jaxbridge.data.recipes import layout
from jaxbridge.data.recordings import modality as one
from jaxbridge.data.recordings import twelve_leads
from jaxbridge.data.recordings.alignment import Overlap, Span, overlap
from jaxbridge.data.recordings.contents import Contents
from jaxbridge.data.recordings.description import Description, read_description
from jaxbridge.data.recordings.gaps import touching
from jaxbridge.data.recordings.labels import read_intervals, window_classes
from jaxbridge.data.recordings.opening import open_file, sources
from jaxbridge.data.recordings.patterns import Files, find_recordings
from jaxbridge.data.store import WindowBatch
from jaxbridge.data.windows import count_windows, cut
from model_ports.errors import InputError

_log = logging.getLogger("jaxbridge")


@dataclass(frozen=True)
class Recordings:
    """Recordings in a folder, read as a description says.

    Attributes:
        description: checked; see `description.Description`.
        folder: with the files.
    """

    description: Description
    folder: Path

    @classmethod
    def from_yaml(cls, path: str | Path, folder: str | Path | None = None) -> "Recordings":
        """Reads a description.

        Args:
            path: YAML file.
            folder: with the recordings, in place of the `folder` that the YAML names (relative to
                itself).

        Raises:
            InputError: see `description.read_description`.
        """
        description = read_description(path)
        named = Path(path).parent / description.folder
        return cls(description, Path(folder) if folder is not None else named)

    @cached_property
    def files(self) -> Mapping[str, Files]:
        """Recording -> its files, sorted by recording."""
        return find_recordings(self.description, self.folder)

    @property
    def recordings(self) -> Mapping[str, str]:
        """Recording -> subject, sorted by recording; file names decide."""
        return {name: files.subject for name, files in self.files.items()}

    @cached_property
    def leads(self) -> Mapping[str, tuple[str, ...]]:
        """Modality -> names of its leads; a pattern is resolved in the first recording."""
        names = {}
        for name, modality in self.description.modalities.items():
            pairs = modality.leads
            if any("*" in old or "?" in old for _, old in pairs):
                contents = self._open(next(iter(self.files.values())), modality.file)
                try:
                    pairs = one.expand(pairs, contents.names)
                except InputError as error:
                    raise InputError(f"{contents.path}: {error}") from error
            names[name] = tuple(new for new, _ in pairs)
        return names

    @cached_property
    def metadata(self) -> dict:
        """What decides the windows; reads every file once for its SHA-256."""
        it = self.description
        labels = it.labels
        rule = "none: unlabelled pairs" if labels.source == "none" else (
            f"the class that fills at least {labels.min_share:g} of the window, from {labels.source}"
        )
        return {
            "dataset": it.name,
            "modalities": {
                name: {
                    "sampling_rate_hz": modality.recipe.sampling_rate_hz,
                    "unit": modality.recipe.output_unit,
                    "leads": list(
                        twelve_leads.rows(
                            modality, self.leads[name], f"{it.where}: modalities.{name}"
                        )[0]
                    ),
                    "preprocessing": {
                        "encoder": modality.encoder, "missing_leads": modality.missing_leads,
                        **modality.recipe.as_dict(),
                    },
                }
                for name, modality in it.modalities.items()
            },
            "class_names": list(it.classes),
            "labels": rule,
            "window_s": it.window_s,
            "step_s": it.step_s,
            "gaps": (
                f"NaN up to {it.gaps.interpolate_up_to_s:g} s interpolated linearly; longer: "
                + ("windows that touch them dropped" if it.gaps.longer == "drop" else "refused")
            ),
            "alignment": "overlap only" + (f", by {it.align}" if it.align else ""),
            "description": it.as_dict(),
            "sources": sha256_of_files(
                self.folder, (file for name in self.files for file in self.sources_of(name))
            ),
        }

    def sources_of(self, recording: str) -> tuple[str, ...]:
        """Names in `metadata["sources"]` of the files that this recording is read from."""
        return tuple(
            path.relative_to(self.folder).as_posix() for path in self._sources(recording)
        )

    def windows(self, recording: str) -> WindowBatch:
        """Reads one recording; `start_s` counts from the start of what its files share.

        Windows that touch a gap, or that no class fills, are left out; how many, and what was
        interpolated, is in the batch's notes and in the log.

        Raises:
            InputError: a file, lead, rate, unit, label or gap that does not fit the description.
        """
        it = self.description
        files = self.files[recording]
        contents = {
            group: self._open(files, group)
            for group in dict.fromkeys(modality.file for modality in it.modalities.values())
        }
        found = {
            name: one.find(
                contents[modality.file], modality, f"{it.where}: modalities.{name}", it.tolerance_s
            )
            for name, modality in it.modalities.items()
        }
        self._check_leads(contents, found)
        shared = self._overlap(recording, contents, found)
        prepared = {
            name: one.read(
                contents[modality.file], found[name], modality, it.gaps, files.subject,
                shared.offsets_s[modality.file], shared.duration_s,
            )
            for name, modality in it.modalities.items()
        }
        rates = {name: m.recipe.sampling_rate_hz for name, m in it.modalities.items()}
        count = min(
            count_windows(part.signal.shape[1], rates[name], it.window_s, it.step_s)
            for name, part in prepared.items()
        )
        starts_s = np.arange(count) * it.step_s
        at_gap = np.zeros(count, bool)
        for part in prepared.values():
            at_gap |= touching(starts_s, it.window_s, part.holes_s)
        labels = self._labels(recording, contents, found, shared, starts_s)
        keep = ~at_gap & (labels >= 0)
        arrays = {
            name: layout(
                cut(part.signal, rates[name], it.window_s, it.step_s)[:count][keep],
                it.modalities[name].recipe,
            )
            for name, part in prepared.items()
        }
        notes = {
            "windows": int(keep.sum()),
            "dropped_at_gaps": int(at_gap.sum()),
            "dropped_without_class": int((~at_gap & (labels < 0)).sum()),
            "interpolated_samples": _per_lead(found, prepared, "interpolated"),
            "missing_samples": _per_lead(found, prepared, "missing"),
            "inverted_gains": sorted({lead for part in found.values() for lead in part.inverted}),
            "unused_s": {
                group: round(seconds, 6) for group, seconds in shared.outside_s.items()
                if seconds > 1e-6
            },
        }
        notes["summary"] = _summary(notes, it.window_s, shared.duration_s)
        if notes["summary"]:
            _log.info("%s: %s", recording, notes["summary"])
        return WindowBatch(
            arrays, labels[keep], files.subject, recording, start_s=starts_s[keep], notes=notes
        )

    def _open(self, files: Files, group: str) -> Contents:
        return open_file(files.paths[group], self.description.files[group].options)

    def _check_leads(self, contents, found) -> None:
        for name, part in found.items():
            if part.names != self.leads[name]:
                path = contents[self.description.modalities[name].file].path
                raise InputError(
                    f"{path}: the lead patterns of modalities.{name} give {', '.join(part.names)}, in "
                    f"the first recording {', '.join(self.leads[name])}. Name the leads one by one."
                )

    def _overlap(self, recording: str, contents, found) -> Overlap:
        spans = {}
        for group, file in contents.items():
            parts = {
                name: found[name] for name, m in self.description.modalities.items()
                if m.file == group
            }
            check_durations(
                {name: part.duration_s for name, part in parts.items()}, str(file.path),
                tolerance_s=self.description.tolerance_s,
            )
            part = min(parts.values(), key=lambda part: part.duration_s)
            spans[group] = Span(
                file.start, part.duration_s,
                f"{part.num_samples} samples at {part.sampling_rate_hz:g} Hz",
            )
        return overlap(
            spans, self.description.align, self.description.tolerance_s, f"recording {recording}"
        )

    def _labels(
        self, recording: str, contents, found, shared: Overlap, starts_s: np.ndarray
    ) -> np.ndarray:
        it = self.description
        if it.labels.source == "none":
            return np.zeros(len(starts_s), np.int64)
        group = it.labels.file if it.labels.file in contents else next(iter(contents))
        if it.labels.source in ("annotations", "column") and it.labels.file not in (None, group):
            raise InputError(
                f"{it.where}: labels.file is {it.labels.file!r}, from which no modality is read. "
                f"Labels from: {it.labels.source} are in a file of signals; use hypnogram or intervals."
            )
        part = next(part for name, part in found.items() if it.modalities[name].file == group)
        intervals, start = read_intervals(
            it, self.files[recording], contents[group], part.sampling_rate_hz,
            contents[group].leads[part.indices[0]].num_samples,
        )
        shift = -shared.offsets_s[group]
        begin = contents[group].start
        if start is not None and begin is not None and start.clock == begin.clock:
            shift += start.seconds - begin.seconds
        moved = [part._replace(onset_s=part.onset_s + shift) for part in intervals]
        return window_classes(moved, starts_s, it.window_s, it, f"recording {recording}")

    def _sources(self, recording: str) -> list[Path]:
        it, files = self.description, self.files[recording]
        used = set()
        for group, path in files.paths.items():
            signals = any(modality.file == group for modality in it.modalities.values())
            used.update(sources(path, it.files[group].options) if signals else [path])
        if it.labels.source == "wfdb":
            group = it.labels.file or next(iter(it.modalities.values())).file
            used.add(files.paths[group].with_suffix(f".{it.labels.annotator}"))
        return sorted(used)


def _per_lead(found, prepared, what: str) -> dict[str, dict[str, int]]:
    """Modality -> lead -> samples, where there are any."""
    counts = {
        name: {
            lead: count
            for lead, count in zip(found[name].names, getattr(part.filled, what), strict=True) if count
        }
        for name, part in prepared.items()
    }
    return {name: leads for name, leads in counts.items() if leads}


def _summary(notes: Mapping, window_s: float, duration_s: float) -> str:
    """What was done to a recording, in words; nothing where nothing was."""
    parts = []
    for key, text in (
        ("dropped_at_gaps", "windows dropped at gaps"),
        ("dropped_without_class", "windows dropped without a class"),
    ):
        if notes[key]:
            parts.append(f"{notes[key]} {text}")
    for key, text in (("interpolated_samples", "interpolated"), ("missing_samples", "missing")):
        for leads in notes[key].values():
            parts += [f"{lead}: {count} samples {text}" for lead, count in leads.items()]
    if notes["inverted_gains"]:
        parts.append(f"negative gain, applied: {', '.join(notes['inverted_gains'])}")
    parts += [
        f"{seconds:g} s of {group} outside the others" for group, seconds in notes["unused_s"].items()
    ]
    if not sum(notes[key] for key in ("windows", "dropped_at_gaps", "dropped_without_class")):
        parts.append(f"{duration_s:.3f} s are too short for a window of {window_s:g} s")
    return "; ".join([f"{notes['windows']} windows", *parts]) if parts else ""
