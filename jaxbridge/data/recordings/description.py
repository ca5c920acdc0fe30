"""What a person writes about recordings, in YAML; every key is checked.

    name: night_study                 # of the data set
    folder: recordings                # relative to the YAML; default: beside it
    files:                            # a pattern each: {field} is part of the name, * and ? are free
      eeg: "{subject}/{night}_eeg.edf"
      watch: {pattern: "{subject}/{night}_watch.csv", time_column: time, time_unit: ms}
      stages: "{subject}/{night}_stages.csv"
    align: start_time                 # or sample_zero; needed where a recording has several files
    modalities:
      eeg: {file: eeg, leads: [F3, C3, O1], encoder: labram}
      ppg: {file: watch, leads: [BVP], sampling_rate_hz: 64, unit: a.u., encoder: papagei}
    windows: {window_s: 30, step_s: 30}
    gaps: {interpolate_up_to_s: 0.1, longer: drop}      # default: 0, refuse
    classes: [wake, sleep]
    labels: {from: intervals, file: stages, map: {W: wake, N1: sleep, N2: sleep, N3: sleep, R: sleep}}
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from jaxbridge.data.recipes import Recipe, recipe
from jaxbridge.data.recordings.contents import plain_unit
from jaxbridge.data.recordings.opening import FORMATS
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.table import TIME_UNITS
from model_ports.errors import InputError

# Units a description may state; those of files that state another one are theirs.
UNITS = ("uV", "mV", "V", "a.u.", "counts")
LABEL_SOURCES = ("annotations", "hypnogram", "wfdb", "column", "intervals", "field", "none")
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class FileGroup:
    """Files of one kind, one of them per recording.

    Attributes:
        pattern: path from the folder; see `patterns`.
        options: how they are read.
    """

    pattern: str
    options: FileOptions = dataclasses.field(default_factory=FileOptions)


@dataclass(frozen=True)
class Modality:
    """One modality of the windows.

    Attributes:
        file: file group it is read from.
        leads: (name in the result, name or pattern in the file); both are the same where only one
            was written.
        encoder: the encoder that reads it, which decides the preprocessing.
        unit, sampling_rate_hz: stated by the description; needed where the file lacks them, refused
            where they contradict it.
        resampling, normalise: in place of the recipe's own, see `recipes.Recipe`.
        missing_leads: see `model_ports.ecg_leads.arrange`.
    """

    file: str
    leads: tuple[tuple[str, str], ...]
    encoder: str
    unit: str | None = None
    sampling_rate_hz: float | None = None
    resampling: str | None = None
    normalise: str | None = None
    missing_leads: str | None = None

    @property
    def recipe(self) -> Recipe:
        changes = {"resampling": self.resampling, "normalise": self.normalise}
        return recipe(self.encoder, **{k: v for k, v in changes.items() if v is not None})


@dataclass(frozen=True)
class Gaps:
    """What becomes of NaN samples.

    Attributes:
        interpolate_up_to_s: gaps up to this long, with samples on both sides, are filled linearly.
        longer: 'drop' the windows that touch a longer gap, or 'refuse' the recording.
    """

    interpolate_up_to_s: float = 0.0
    longer: str = "refuse"


@dataclass(frozen=True)
class Labels:
    """Where labels come from.

    Attributes:
        source: 'annotations' in a file of signals (EDF+), 'hypnogram' (EDF+ file of annotations),
            'wfdb' (annotation file of a record), 'column' (of a table, or an array), 'intervals'
            (table with columns onset, duration, label and perhaps subject or the like), 'field' (a
            {field} of the file pattern) or 'none' (unlabelled pairs).
        file: file group; None for that of the first modality.
        column, annotator, field: name, for the sources of these names.
        map: label -> class.
        ignore: labels, or patterns of them, whose windows are dropped.
        min_share: smallest part of a window that one class must fill.
        duration_s: duration of annotations that have none; 'next' lets each last until the next.
    """

    source: str = "none"
    file: str | None = None
    column: str | None = None
    annotator: str | None = None
    field: str | None = None
    map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    min_share: float = 1.0
    duration_s: float | str | None = None


@dataclass(frozen=True)
class Description:
    """A checked description. `where` (the YAML file) is for messages."""

    name: str
    folder: str
    files: Mapping[str, FileGroup]
    modalities: Mapping[str, Modality]
    window_s: float
    step_s: float
    subject: str | None = None
    exclude: tuple[str, ...] = ()
    align: str | None = None
    tolerance_s: float = 0.1
    gaps: Gaps = dataclasses.field(default_factory=Gaps)
    classes: tuple[str, ...] = (UNLABELLED,)
    labels: Labels = dataclasses.field(default_factory=Labels)
    where: str = ""

    def as_dict(self) -> dict:
        """All that decides the windows: without folder and place of the description."""
        record = dataclasses.asdict(self)
        del record["folder"], record["where"]
        return record


def read_description(path: str | Path) -> Description:
    """Reads and checks a YAML file.

    Raises:
        InputError: no such file, no YAML, an unknown or missing key, a value that does not fit.
    """
    path = Path(path)
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"There is no description {path}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8 ({error}). Save it so.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}. Check its rights.") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no valid YAML: {reason}. Correct it.") from error
    return parse(loaded, str(path))


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would take the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key, _), name in zip(node.value, keys, strict=True):
            if keys.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def parse(loaded: Any, where: str) -> Description:
    """Checks a loaded description; see `read_description`."""
    top = _Keys(loaded, where, "", (
        "name", "folder", "files", "subject", "exclude", "align", "tolerance_s", "modalities",
        "windows", "gaps", "classes", "labels",
    ))
    files = {
        str(name): _file_group(value, where, f"files.{name}")
        for name, value in top.mapping("files").items()
    }
    modalities = {
        str(name): _modality(value, where, f"modalities.{name}", files)
        for name, value in top.mapping("modalities").items()
    }
    windows = _Keys(top.needed("windows"), where, "windows", ("window_s", "step_s"))
    window_s = windows.positive("window_s", windows.needed("window_s"))
    gaps = _Keys(top.get("gaps", {}), where, "gaps", ("interpolate_up_to_s", "longer"))
    labels = _labels(top.get("labels", {"from": "none"}), where, files)
    result = Description(
        name=top.text("name"), folder=str(top.get("folder", ".")), files=files,
        modalities=modalities, window_s=window_s,
        step_s=windows.positive("step_s", windows.get("step_s", window_s)),
        subject=None if top.get("subject") is None else top.pattern("subject"),
        exclude=tuple(str(name) for name in top.sequence("exclude", ())),
        align=top.choice("align", ("start_time", "sample_zero"), None),
        tolerance_s=top.number("tolerance_s", 0.1),
        gaps=Gaps(
            gaps.number("interpolate_up_to_s", 0.0),
            gaps.choice("longer", ("drop", "refuse"), "refuse"),
        ),
        classes=tuple(str(name) for name in top.sequence("classes", (UNLABELLED,))),
        labels=labels, where=where,
    )
    _check_whole(result)
    return result


def _check_whole(it: Description) -> None:
    used = {modality.file for modality in it.modalities.values()}
    if it.labels.file is not None:
        used.add(it.labels.file)
    if idle := [name for name in it.files if name not in used]:
        raise InputError(
            f"{it.where}: nothing reads files.{idle[0]}. Name it in a modality or in labels, or remove "
            "it."
        )
    if len({modality.file for modality in it.modalities.values()}) > 1 and it.align is None:
        raise InputError(
            f"{it.where}: the modalities come from several files. State how they are aligned: "
            "align: start_time (by the start each file states) or align: sample_zero (all begin at "
            "the same moment)."
        )
    if it.labels.source == "none":
        if it.classes != (UNLABELLED,):
            raise InputError(
                f"{it.where}: classes are named, but labels are from: none. State where the labels "
                f"come from (labels: {{from: ...}}, one of {', '.join(LABEL_SOURCES)}), or remove "
                "classes."
            )
        return
    if it.classes == (UNLABELLED,) or len(set(it.classes)) != len(it.classes):
        raise InputError(
            f"{it.where}: labels need `classes`, a list of different names, in the order in which they "
            "are numbered."
        )
    if unknown := sorted(set(it.labels.map.values()) - set(it.classes)):
        raise InputError(
            f"{it.where}: labels.map names {', '.join(map(repr, unknown))}, but classes are "
            f"{', '.join(it.classes)}. Use these."
        )


def _file_group(value: Any, where: str, at: str) -> FileGroup:
    if isinstance(value, str):
        return FileGroup(value)
    names = tuple(option.name for option in fields(FileOptions))
    keys = _Keys(value, where, at, ("pattern", *names))
    options = FileOptions(
        format=keys.choice("format", tuple(FORMATS), None),
        array=keys.optional_text("array"),
        lead_names=tuple(str(name) for name in keys.sequence("lead_names", ())),
        rate_from=keys.optional_text("rate_from"),
        header=keys.optional_text("header"),
        time_column=keys.optional_text("time_column"),
        time_unit=keys.choice("time_unit", (*TIME_UNITS, "date"), "s"),
    )
    return FileGroup(keys.text("pattern"), options)


def _modality(value: Any, where: str, at: str, files: Mapping[str, FileGroup]) -> Modality:
    keys = _Keys(value, where, at, tuple(part.name for part in fields(Modality)))
    leads = keys.needed("leads")
    if isinstance(leads, str):
        leads = [leads]
    if isinstance(leads, Mapping):
        pairs = tuple((str(new), str(old)) for new, old in leads.items())
    elif isinstance(leads, list):
        pairs = tuple((str(lead), str(lead)) for lead in leads)
    else:
        pairs = ()
    if not pairs:
        raise InputError(
            f"{where}: {at}.leads must be a list of lead names or a mapping of new names to those in "
            f"the file, not {leads!r}."
        )
    rate = keys.get("sampling_rate_hz")
    result = Modality(
        file=_file(keys, where, at, files), leads=pairs, encoder=keys.text("encoder"),
        unit=_unit(keys, where, at),
        sampling_rate_hz=None if rate is None else keys.positive("sampling_rate_hz", rate),
        resampling=keys.optional_text("resampling"), normalise=keys.optional_text("normalise"),
        missing_leads=keys.choice("missing_leads", ("none", "zero", "repeat"), None),
    )
    try:
        chosen = result.recipe
    except InputError as error:
        raise InputError(f"{where}: {at}: {error}") from error
    if result.missing_leads is not None and chosen.twelve_leads is None:
        raise InputError(
            f"{where}: {at}.missing_leads is for encoders of twelve ECG leads, not for "
            f"{result.encoder}. Remove it."
        )
    return result


def _unit(keys: "_Keys", where: str, at: str) -> str | None:
    unit = plain_unit(keys.optional_text("unit"))
    if unit is not None and unit not in UNITS:
        raise InputError(
            f"{where}: {at}.unit is {unit!r}; use one of {', '.join(UNITS)}. A unit that the file "
            "states itself need not be stated."
        )
    return unit


def _file(keys: "_Keys", where: str, at: str, files: Mapping[str, FileGroup]) -> str:
    name = keys.get("file", next(iter(files)) if len(files) == 1 else None)
    if name not in files:
        raise InputError(
            f"{where}: {at}.file is {name!r}; name one of files: {', '.join(files)}."
        )
    return name


def _labels(value: Any, where: str, files: Mapping[str, FileGroup]) -> Labels:
    names = tuple("from" if part.name == "source" else part.name for part in fields(Labels))
    keys = _Keys(value, where, "labels", names)
    source = keys.choice("from", LABEL_SOURCES, None)
    if source is None:
        raise InputError(
            f"{where}: labels.from is missing. State one of {', '.join(LABEL_SOURCES)}."
        )
    for name in ("annotator", "column", "field"):
        user = {"annotator": "wfdb"}.get(name, name)
        if (keys.get(name) is not None) != (source == user):
            verb = "needs" if source == user else "does not take"
            raise InputError(f"{where}: labels from: {source} {verb} labels.{name}.")
    if source in ("hypnogram", "intervals") and keys.get("file") is None:
        raise InputError(
            f"{where}: labels from: {source} needs labels.file, the file group with the {source}."
        )
    file = keys.optional_text("file")
    if file is not None and file not in files:
        raise InputError(f"{where}: labels.file is {file!r}; name one of files: {', '.join(files)}.")
    duration = keys.get("duration_s")
    if duration is not None and duration != "next":
        duration = keys.positive("duration_s", duration)
    share = keys.number("min_share", 1.0)
    if not 0 < share <= 1:
        raise InputError(f"{where}: labels.min_share is {share:g}; give a share above 0 up to 1.")
    ignore = keys.sequence("ignore", ())
    return Labels(
        source, file, keys.optional_text("column"), keys.optional_text("annotator"),
        keys.optional_text("field"), _label_map(keys.get("map", {}), where),
        tuple(_label(name, where, "ignore") for name in ignore), share, duration,
    )


def _label_map(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: labels.map must be a mapping of labels to classes.")
    return {
        _label(label, where, "map"): _label(name, where, "map") for label, name in value.items()
    }


def _label(value: Any, where: str, at: str) -> str:
    if isinstance(value, bool) or value is None:
        raise InputError(
            f"{where}: labels.{at} holds {value!r}, which YAML made of an unquoted word such as no, "
            "yes or null. Put it in quotes."
        )
    return str(value)


class _Keys:
    """A mapping of the description, whose keys must be known."""

    def __init__(self, value: Any, where: str, at: str, known: tuple[str, ...]):
        self.where, self.at = where, at
        if not isinstance(value, Mapping):
            raise InputError(
                f"{where}: {at or 'the description'} must be a mapping with some of the keys "
                f"{', '.join(known)}, not {value!r}."
            )
        if unknown := [str(key) for key in value if key not in known]:
            raise InputError(
                f"{where}: unknown key {', '.join(map(repr, unknown))}"
                f"{f' in {at}' if at else ''}. Known: {', '.join(known)}."
            )
        self._value = value

    def _path(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key

    def get(self, key: str, default: Any = None) -> Any:
        return self._value.get(key, default)

    def needed(self, key: str) -> Any:
        if self._value.get(key) is None:
            raise InputError(f"{self.where}: {self._path(key)} is missing. State it.")
        return self._value[key]

    def mapping(self, key: str) -> Mapping:
        value = self.needed(key)
        if not isinstance(value, Mapping) or not value:
            raise InputError(f"{self.where}: {self._path(key)} must be a mapping with names as keys.")
        return value

    def sequence(self, key: str, default: tuple) -> list | tuple:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not value:
            raise InputError(f"{self.where}: {self._path(key)} must be a list, not {value!r}.")
        return value

    def text(self, key: str) -> str:
        value = self.needed(key)
        if not isinstance(value, str):
            raise InputError(
                f"{self.where}: {self._path(key)} must be text, not {value!r}. Put it in quotes."
            )
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.get(key) is None else self.text(key)

    def pattern(self, key: str) -> str:
        text = self.text(key)
        try:
            groups = re.compile(text).groups
        except re.error as error:
            raise InputError(
                f"{self.where}: {self._path(key)} is no regular expression ({error})."
            ) from error
        if groups != 1:
            raise InputError(
                f"{self.where}: {self._path(key)} must have one group, the subject: for instance "
                "'^(S[0-9]+)_'."
            )
        return text

    def choice(self, key: str, choices: tuple[str, ...], default: str | None) -> str | None:
        value = self.get(key, default)
        if value is not None and value not in choices:
            raise InputError(
                f"{self.where}: {self._path(key)} is {value!r}; use one of {', '.join(choices)}."
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (
            math.isfinite(value) and value >= 0
        ):
            raise InputError(
                f"{self.where}: {self._path(key)} is {value!r}; give a number from 0 up."
            )
        return float(value)

    def positive(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not (
            math.isfinite(value) and value > 0
        ):
            raise InputError(f"{self.where}: {self._path(key)} is {value!r}; give a positive number.")
        return float(value)
