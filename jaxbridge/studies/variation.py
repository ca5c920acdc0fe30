"""What a study is made of."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jaxbridge.methods import Method
from jaxbridge.studies.changes import Change
from model_ports.errors import InputError


class Axis(NamedTuple):
    """Something that variations differ in.

    Attributes:
        name: of it.
        unit: "" where there is none.
        scale: how a figure shows it.
    """

    name: str
    unit: str = ""
    scale: Literal["linear", "log", "category"] = "linear"


@dataclasses.dataclass(frozen=True)
class Variation:
    """A method with its settings, on data with a change.

    Attributes:
        name: unique within the study; the "method" of tables.
        method: how.
        change: of the shared data.
        encoder: which of the setup's new encoders; "" for its usual one.
        values: axis name -> where this variation lies.
        group: variations that belong together, such as a line of a figure.
    """

    name: str
    method: Method
    change: Change = dataclasses.field(default_factory=Change)
    encoder: str = ""
    values: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    group: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Returns all that decides its results, and how it is shown, JSON-able."""
        return {
            "name": self.name, "group": self.group or self.name, "values": dict(self.values),
            **self.identity(),
        }

    def identity(self) -> dict[str, Any]:
        """Returns what decides results, for given shared data and seed."""
        change = {"kind": type(self.change).__name__, **dataclasses.asdict(self.change)}
        return {
            "method": type(self.method).__name__, "settings": dataclasses.asdict(self.method),
            "change": change, "encoder": self.encoder,
        }

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^A-Za-z0-9.+-]+", "_", self.name).strip("_")


@dataclasses.dataclass(frozen=True)
class Study:
    """Variations to compare.

    Attributes:
        name, title: short, and what it asks.
        variations: see `Variation`.
        axes: what they differ in; none for a list of methods.
        baselines: names; every variation is compared with the best of them.
        averages: groups whose variations count as one, averaged.
        notes: sentences that a reader needs.

    Raises:
        InputError: two variations of the same name.
    """

    name: str
    title: str
    variations: Sequence[Variation]
    axes: Sequence[Axis] = ()
    baselines: Sequence[str] = ()
    averages: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        slugs = [variation.slug for variation in self.variations]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise InputError(f"study {self.name}: variations are named alike: {', '.join(twice)}.")

    def only(self, words: Sequence[str]) -> "Study":
        """Returns the study with the variations whose name holds one of the words.

        Raises:
            InputError: none does.
        """
        kept = [v for v in self.variations if any(word in v.name for word in words)]
        if not kept:
            names = "; ".join(v.name for v in self.variations)
            raise InputError(f"no variation is named {' or '.join(words)}; there are {names}.")
        return dataclasses.replace(self, variations=kept)
