"""Which files make a recording: patterns with {fields}, matched against a folder.

    {name}   part of a file or folder name; the same field twice must be the same text
    *  ?     any text, any character, within a name;   **/  any folders

A file that several patterns match belongs to the one with most characters of its own:
"{subject}_stages.csv" before "{subject}.csv".
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxbridge.data.recordings.description import Description
from model_ports.errors import InputError

_TOKEN = re.compile(r"\{(\w+)\}|(\*\*/)|(\*)|(\?)")


@dataclass(frozen=True)
class Files:
    """One recording's files.

    Attributes:
        name: field values of its signal files, joined by '_'.
        subject: whose it is.
        fields: field -> value.
        paths: file group -> file.
    """

    name: str
    subject: str
    fields: Mapping[str, str]
    paths: Mapping[str, Path]


def find_recordings(description: Description, folder: Path) -> dict[str, Files]:
    """All recordings in a folder, sorted by name; only names of files are looked at.

    Raises:
        InputError: no such folder; a pattern that matches nothing, or whose {field} is no name; groups
            of signal files with different fields; a recording that lacks a file; no subject; two
            recordings of one name.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. Check `folder` in {description.where}.")
    where = description.where
    patterns = {name: group.pattern for name, group in description.files.items()}
    signal_groups = list(dict.fromkeys(m.file for m in description.modalities.values()))
    found, taken = {}, {}
    # A file that two patterns match belongs to the one that says more of its name.
    literal = {name: len(_TOKEN.sub("", pattern)) for name, pattern in patterns.items()}
    for name in sorted(patterns, key=lambda name: -literal[name]):
        passed = {path for path, length in taken.items() if length > literal[name]}
        found[name] = _match(patterns[name], folder, f"{where}: files.{name}", passed)
        taken.update(dict.fromkeys(found[name].values(), literal[name]))
    fields_of = {name: _fields(group.pattern) for name, group in description.files.items()}
    first = signal_groups[0]
    for name in signal_groups[1:]:
        if set(fields_of[name]) != set(fields_of[first]):
            raise InputError(
                f"{where}: files.{first} has the fields {_braced(fields_of[first])}, files.{name} "
                f"{_braced(fields_of[name])}. Give both the same, so that it is known which belong "
                "together."
            )
    if "subject" not in fields_of[first] and description.subject is None:
        raise InputError(
            f"{where}: whose recordings are they? Put {{subject}} into the file patterns, or give "
            "`subject`, a regular expression with one group, for the path."
        )
    keys = sorted({key for name in signal_groups for key in found[name]})
    result: dict[str, Files] = {}
    for key in keys:
        fields = dict(key)
        ordered = [fields[field] for field in fields_of[first]]
        paths = {}
        for group in description.files:
            part = tuple(sorted((f, v) for f, v in fields.items() if f in fields_of[group]))
            if part in found[group]:
                paths[group] = found[group][part]
        path = paths.get(first)
        name = "_".join(ordered) or (path.stem if path else "")
        if name in description.exclude:
            continue
        for group, spec in description.files.items():
            if group not in paths:
                wanted = spec.pattern
                for field, value in fields.items():
                    wanted = wanted.replace(f"{{{field}}}", value)
                raise InputError(
                    f"{folder}: recording {name!r} has no file {wanted!r} (files.{group}). Add it, or "
                    f"put the recording into `exclude` of {where}."
                )
        if name in result:
            raise InputError(f"{where}: two recordings are called {name!r}. Rename the files.")
        subject = fields.get("subject") or _subject(description, path.relative_to(folder))
        result[name] = Files(name, subject, fields, paths)
    if unknown := sorted(set(description.exclude) - {_name(key, fields_of[first]) for key in keys}):
        raise InputError(
            f"{where}: exclude names {', '.join(unknown)}, which is no recording. There are: "
            f"{', '.join(sorted(result)[:20])}."
        )
    if not result:
        raise InputError(f"{where}: `exclude` leaves no recording.")
    return dict(sorted(result.items()))


def _name(key, order) -> str:
    fields = dict(key)
    return "_".join(fields[field] for field in order)


def _fields(pattern: str) -> list[str]:
    return list(dict.fromkeys(match[1] for match in _TOKEN.finditer(pattern) if match[1]))


def _braced(fields: list[str]) -> str:
    return ", ".join(f"{{{field}}}" for field in fields) or "none"


def _match(
    pattern: str, folder: Path, where: str, taken: Collection[Path]
) -> dict[tuple[tuple[str, str], ...], Path]:
    """(field, value) pairs, sorted -> the one file that has them; `taken` ones are passed over."""
    text, at, seen = "", 0, set()
    for token in _TOKEN.finditer(pattern):
        text += re.escape(pattern[at : token.start()])
        if field := token[1]:
            if not field.isidentifier():
                raise InputError(
                    f"{where}: {{{field}}} in {pattern!r} is no field name: begin it with a letter."
                )
            text += f"(?P={field})" if field in seen else f"(?P<{field}>[^/]+?)"
            seen.add(field)
        else:
            text += "(?:[^/]+/)*" if token[2] else "[^/]*" if token[3] else "[^/]"
        at = token.end()
    expression = re.compile(text + re.escape(pattern[at:]))
    found: dict[tuple[tuple[str, str], ...], Path] = {}
    seen_some = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder).as_posix()
        seen_some.append(relative)
        if path not in taken and (match := expression.fullmatch(relative)):
            key = tuple(sorted(match.groupdict().items()))
            if key in found:
                raise InputError(
                    f"{where}: {found[key].relative_to(folder).as_posix()} and {relative} have the "
                    f"same fields ({_braced(_fields(pattern))}). Put what tells them apart into the "
                    "pattern as another {field}."
                )
            found[key] = path
    if not found:
        raise InputError(
            f"{where}: no file in {folder} matches {pattern!r}. It holds: "
            f"{', '.join(seen_some[:5]) or 'nothing'}{' ...' if len(seen_some) > 5 else ''}."
        )
    return found


def _subject(description: Description, relative: Path) -> str:
    match = re.search(description.subject, relative.as_posix())
    if not match or not match[1]:
        raise InputError(
            f"{description.where}: `subject` ({description.subject}) finds no subject in "
            f"{relative.as_posix()}. Correct it, or put {{subject}} into the pattern."
        )
    return match[1]
