"""Encoders from published weight files, with an account of every entry."""

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_ports import registry, saving
from model_ports.checkpoint_file import read_file
from model_ports.encoder import Encoder, EncoderConfig
from model_ports.errors import InputError
from model_ports.parameters import parameter_shapes, parameters
from model_ports.port import Port, Prefix

# DistributedDataParallel and torch.compile put these before every name, in either order.
_TRAINING = (Prefix("module."), Prefix("_orig_mod."), Prefix("module."))


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What reading a weight file came to. Nothing is missing: a missing entry is an error.

    Attributes:
        read: published entries used.
        ignored: published entries present and left out by an explicit rule.
        initial: entries that the file lacks by rule and that keep their initial value.
        matched: parameter values filled from the file.
        total: parameter values of the encoder.
    """

    read: tuple[str, ...]
    ignored: tuple[str, ...]
    initial: tuple[str, ...]
    matched: int
    total: int

    def __str__(self) -> str:
        return (
            f"{len(self.read)} entries read, {len(self.ignored)} ignored by rule, "
            f"{len(self.initial)} kept at their initial value by rule, 0 missing; "
            f"{self.matched:,} of {self.total:,} parameters matched"
        )

    def table(self) -> str:
        """Returns one line per kind of entry; entries ignored or kept are named."""
        rows = [
            ("entries read", len(self.read), ()),
            ("ignored by rule", len(self.ignored), self.ignored),
            ("initial value kept by rule", len(self.initial), self.initial),
            ("missing", 0, ()),
        ]
        lines = [
            f"{label:<28}{count:>12,}" + (f"  {_short(names)}" if names else "")
            for label, count, names in rows
        ]
        lines.append(f"{'parameters matched':<28}{self.matched:>12,}  of {self.total:,}")
        return "\n".join(lines)


def from_checkpoint(name: str, path: str | pathlib.Path, **config_overrides: Any) -> Encoder:
    """Returns the encoder in a published weight file, a hub folder, or a folder saved by us.

    Args:
        name: one of `available()`.
        path: .safetensors, a PyTorch file (needs the [convert] extra), a Hugging Face folder, or
            a folder that `save` wrote.
        **config_overrides: configuration fields; they win over what the file says.

    Raises:
        InputError: the file cannot be read, would run code, or does not hold this encoder; every
            missing, unexpected or mis-shaped entry is named with both shapes.
    """
    return read_checkpoint(name, path, **config_overrides)[0]


def read_checkpoint(
    name: str, path: str | pathlib.Path, **config_overrides: Any
) -> tuple[Encoder, Coverage]:
    """As `from_checkpoint`, with an account of which entries were used."""
    port = registry.port(name)
    path = pathlib.Path(path)
    # ours by its weights' name; another file in such a folder is read as what it is
    folder = path.parent if path.is_file() and path.name == "model.safetensors" else path
    if saving.is_saved(folder):
        return _read_saved(name, folder, config_overrides)
    file = read_file(path, port.inert_types)
    overrides = port.overrides(file.config) | config_overrides
    entries, left_out, initial = _strip(file.entries, (*_TRAINING, *port.prefixes), path)
    _refuse_other_models(port, port.config.override(**overrides), entries, path)
    try:
        entries, kept = _with_initial(port, entries, initial, overrides)
        encoder, coverage = registry.read_state_dict(name, entries, **overrides)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for field in sorted(set(port.needed) - set(overrides)):
        value = getattr(port.config, field)
        warnings.warn(
            f"{path} does not say {field} ({port.needed[field]}) and no tensor shape tells it: "
            f"{field}={value} is assumed. Pass {field}=... to settle it.",
            stacklevel=3,
        )
    total = sum(p.size for p in parameters(encoder).values())
    return encoder, Coverage(
        read=tuple(n for n in coverage.read if n not in kept),
        ignored=(*coverage.ignored, *left_out),
        initial=tuple(kept),
        matched=total - sum(array.size for array in kept.values()),
        total=total,
    )


def _read_saved(
    name: str, folder: pathlib.Path, overrides: Mapping[str, Any]
) -> tuple[Encoder, Coverage]:
    encoder = saving.load(folder, **overrides)
    if encoder.config.name != name:
        raise InputError(f"{folder} is {encoder.config.name}, not {name}; ask for that.")
    arrays = parameters(encoder)
    total = sum(array.size for array in arrays.values())
    return encoder, Coverage(tuple(sorted(arrays)), (), (), total, total)


def _strip(
    entries: Mapping[str, np.ndarray], prefixes: Sequence[Prefix], path: pathlib.Path
) -> tuple[dict[str, np.ndarray], list[str], dict[str, float]]:
    """Cuts the prefixes that the file has; returns entries, names left out, initial values."""
    entries, left_out, initial = dict(entries), [], {}
    for prefix in prefixes:
        if not any(name.startswith(prefix.sign or prefix.text) for name in entries):
            continue
        inside = {n.removeprefix(prefix.text): a for n, a in entries.items()
                  if n.startswith(prefix.text)}
        outside = sorted(n for n in entries if not n.startswith(prefix.text))
        if strange := [n for n in outside if not _matches(n, prefix.beside)]:
            raise InputError(
                f"{path}: the encoder's entries begin with {prefix.text!r}, and {len(strange)} "
                f"others are not known to stand beside them: {_short(strange)}."
            )
        within = [n for n in inside if _matches(n, prefix.within)]
        entries = {n: a for n, a in inside.items() if n not in within}
        left_out += outside + [prefix.text + n for n in within]
        initial |= prefix.initial
    return entries, left_out, initial


def _with_initial(
    port: Port, entries: dict[str, np.ndarray], initial: Mapping[str, float],
    overrides: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Adds the entries that such a file lacks by rule; returns all, and those added."""
    absent = set(initial) - set(entries)
    if not absent:
        return entries, {}
    shapes = {n: tuple(a.shape) for n, a in port.canonical(entries).items()}
    config = port.infer(port.config.override(**overrides), shapes)
    targets = parameter_shapes(registry.abstract(port.name, config))
    kept = {}
    for entry in port.entries(config):
        published = entry.layout.published_shapes(targets[entry.target])
        for source, shape in zip(entry.sources, published, strict=True):
            if source in absent:
                kept[source] = np.full(shape, initial[source], np.float32)
    return entries | kept, kept


def _refuse_other_models(
    port: Port, config: EncoderConfig, entries: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """One short message where hardly a name is known, in place of a list of all of them."""
    try:
        shapes = {n: tuple(a.shape) for n, a in port.canonical(entries).items()}
        config = port.infer(config, shapes)
    except InputError:
        pass  # told later, if this file is the model's at all
    share = _share(port, config, entries)
    if share >= 0.5:
        return
    others = (registry.port(name) for name in registry.available())
    better = [p.name for p in others if _share(p, p.config, _inside(p, entries)) > 0.9]
    raise InputError(
        f"{path} is not {port.name}: {share:.0%} of the entries it needs are there. "
        + (f"It looks like {' or '.join(better)}." if better
           else f"It holds {_short(sorted(entries))}.")
    )


def _inside(port: Port, entries: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The entries without the prefixes under which the model's published files keep them."""
    for prefix in port.prefixes:
        if any(name.startswith(prefix.sign or prefix.text) for name in entries):
            entries = {name.removeprefix(prefix.text): array for name, array in entries.items()}
    return entries


def _share(port: Port, config: EncoderConfig, entries: dict[str, np.ndarray]) -> float:
    names = set(port.canonical(entries))
    needed = {source for entry in port.entries(config) for source in entry.sources}
    return len(needed & names) / len(needed)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _short(names: Sequence[str], at_most: int = 6) -> str:
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")
