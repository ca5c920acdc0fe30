"""The studies there are."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from jaxbridge import methods
from jaxbridge.methods import Bridge, ClosedFormBridge, Method
from jaxbridge.studies.changes import Change, Misaligned, Noisy, PairFraction, WrongPartners
from jaxbridge.studies.placed import FixedPosition, SearchedPosition
from jaxbridge.studies.setup import Setup
from jaxbridge.studies.variation import Axis, Study, Variation
from jaxbridge.training import losses
from model_ports.errors import InputError

# What the studies of data and encoders compare unless told otherwise.
COMPARED = ("bridge", "KD", "Procrustes")
RANKS, PROTOTYPES = (2, 8, 32), (5, 20, 80)
FRACTIONS = (1.0, 0.5, 0.2, 0.05)
# Start of a bridge -> what it changes in the settings.
STARTS = {
    "random start": {"start": "random"},
    "ridge start": {"start": "ridge", "prototypes": "random"},
    "closed form": {"start": "ridge", "prototypes": "random", "epochs": 0},
}
START_FRACTIONS = (1.0, 0.2, 0.05)
SHIFTS_S = (0.0, 0.25, 0.5, 1.0, 2.0)
SNRS_DB = (20.0, 10.0, 0.0, -10.0)
LOGIT_WEIGHTS = (0.0, 0.1, 1.0, 10.0)
UNPAIRED = (0.1, 0.25, 0.5, 0.75, 0.9)
RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SCHEDULES = ("constant", "cosine")
EPOCH_SHARES = (1, 2, 4, 8)
_PLACES = ("first", "middle", "last")


def study(name: str, setup: Setup, compared: Sequence[str] | None = None) -> Study:
    """Returns a study.

    Args:
        name: one of `available`.
        setup: what it will run on.
        compared: names of methods; None for all in "methods", some that train by gradients in
            "learning_rate", `COMPARED` elsewhere. Studies of the bridge's own settings and positions
            take none.

    Raises:
        InputError: no such study or method, or methods for a study of the bridge alone.
    """
    if name not in _STUDIES:
        raise InputError(f"there is no study {name!r}; there are {', '.join(_STUDIES)}.")
    if name in _OF_METHODS:
        names = compared or _COMPARED.get(name, COMPARED)
        return _STUDIES[name](setup, [_set_up(methods.method(m), setup) for m in names])
    if compared:
        raise InputError(f"study {name} is of the bridge alone; leave the methods out.")
    return _STUDIES[name](setup)


def available() -> tuple[str, ...]:
    """Returns the names of all studies."""
    return tuple(_STUDIES)


def _set_up(method: Method, setup: Setup) -> Method:
    rate = setup.rates.get(method.name)
    return method if rate is None else _trained_otherwise(method, setup, learning_rate=rate)


def _methods(setup: Setup, compared: Sequence[Method]) -> Study:
    return Study(
        "methods", "Bridge, baselines, bounds and controls",
        [Variation(m.name, m) for m in compared],
        baselines=[
            m.name for m in compared
            if not (m.is_control or m.reads_labels or isinstance(m, Bridge))
        ],
    )


def _positions(setup: Setup) -> Study:
    bridge = setup.settings.bridge
    variations = [
        Variation("two-stage", Bridge("two-stage", bridge)),
        Variation("joint", SearchedPosition("joint", "joint", bridge)),
        Variation("exhaustive", SearchedPosition("exhaustive", "exhaustive", bridge)),
    ]
    for place in itertools.product(_PLACES, repeat=2):
        name = "fixed, {} to {}".format(*place)
        variations.append(
            Variation(name, FixedPosition(name, bridge, place=place), group="fixed positions")
        )
    return Study(
        "positions", "Where the bridge goes: fixed, two-stage, joint, exhaustive", variations,
        baselines=["two-stage"], averages=["fixed positions"],
        notes=["The time of joint and exhaustive includes the search, that of two-stage does not."],
    )


def _rank_prototypes(setup: Setup) -> Study:
    base = setup.settings.bridge
    variations = [
        _bridge(
            f"rank {rank}, {count} prototypes",
            dataclasses.replace(base, rank=rank, num_prototypes=count),
            {"rank": rank, "prototypes": count}, f"{count} prototypes",
        )
        for count, rank in itertools.product(PROTOTYPES, RANKS)
    ]
    axes = [Axis("rank", scale="log"), Axis("prototypes", scale="log")]
    return Study("rank_prototypes", "Rank and number of prototypes", variations, axes)


def _prototypes(setup: Setup) -> Study:
    base = setup.settings.bridge
    variations = [
        _bridge(
            f"{kind} prototypes", dataclasses.replace(base, prototypes=kind), {"prototypes": kind}
        )
        for kind in ("random", "real")
    ]
    return Study(
        "prototypes", "Initial prototypes: random, or tokens of the old encoder", variations,
        [Axis("prototypes", scale="category")], baselines=["random prototypes"],
    )


def _start(setup: Setup) -> Study:
    base = setup.settings.bridge
    variations = [
        Variation(
            f"{name}, {100 * f:g} % of pairs",
            Bridge(f"{name}, {100 * f:g} % of pairs", dataclasses.replace(base, **changes)),
            PairFraction(f), values={"pairs": 100 * f}, group=name,
        )
        for f in START_FRACTIONS for name, changes in STARTS.items()
    ]
    return Study(
        "start", "Where training starts: random values, or a ridge map in closed form", variations,
        [Axis("pairs", "%", "log")],
        notes=["Epochs are the same for any number of pairs, so fewer pairs take fewer steps."],
    )


def _loss(setup: Setup) -> Study:
    base, variations = setup.settings.bridge, []
    for location, loss in itertools.product(("last_layer", "bridge_output"), losses.NAMES):
        where = location.replace("_", " ")
        variations.append(_bridge(
            f"{loss}, {where}", dataclasses.replace(base, loss=loss, location=location),
            {"loss": loss, "location": where}, where,
        ))
    axes = [Axis("loss", scale="category"), Axis("location", scale="category")]
    return Study(
        "loss", "Alignment loss and its location", variations, axes,
        baselines=["cosine, last layer"],
    )


def _epochs(setup: Setup) -> Study:
    base = setup.settings.bridge
    counts = sorted({max(1, base.epochs // share) for share in EPOCH_SHARES}, reverse=True)
    variations = [
        _bridge(f"{count} epochs", dataclasses.replace(base, epochs=count), {"epochs": count})
        for count in counts
    ]
    return Study(
        "epochs", "How long the bridge trains", variations, [Axis("epochs", scale="log")],
        baselines=[variations[0].name],
    )


def _logits(setup: Setup) -> Study:
    base = setup.settings.bridge
    variations = [
        _bridge(
            f"logit weight {weight:g}", dataclasses.replace(base, logit_weight=weight),
            {"logit weight": weight},
        )
        for weight in LOGIT_WEIGHTS
    ]
    return Study(
        "logits", "The teacher's soft pseudo-labels in the loss, beside its features", variations,
        [Axis("logit weight")], baselines=["logit weight 0"],
    )


def _pairs(setup: Setup, compared: Sequence[Method]) -> Study:
    variations = [
        Variation(
            f"{m.name}, {100 * f:g} % of pairs", _as_many_windows(m, f, setup), PairFraction(f),
            values={"pairs": 100 * f}, group=m.name,
        )
        for m in compared for f in FRACTIONS
    ]
    return Study(
        "pairs", "How many pairs are needed", variations, [Axis("pairs", "%", "log")],
        notes=[
            "Fewer pairs are gone through more often, so that every run sees as many windows; in steps "
            "this is more where pairs leave a part of a batch over."
        ],
    )


def _misalignment(setup: Setup, compared: Sequence[Method]) -> Study:
    return _over(
        "misalignment", "New windows of pairs begin later than the old ones", compared,
        Axis("shift", "s"), [(f"{s:g} s", s, Misaligned(s)) for s in SHIFTS_S],
    )


def _noise(setup: Setup, compared: Sequence[Method]) -> Study:
    return _over(
        "noise", "White noise on the new modality", compared, Axis("signal to noise", "dB"),
        [(f"{db:g} dB", db, Noisy(db)) for db in SNRS_DB],
    )


def _encoder_size(setup: Setup, compared: Sequence[Method]) -> Study:
    if not setup.sizes:
        raise InputError(f"{setup.dataset} is set up with one new encoder; no sizes to compare.")
    variations = [
        Variation(f"{m.name}, {size}", m, encoder=size, values={"encoder": size}, group=m.name)
        for m in compared for size in setup.sizes
    ]
    return Study(
        "encoder_size", "Size of the new encoder", variations, [Axis("encoder", scale="category")]
    )


def _unpaired(setup: Setup, compared: Sequence[Method]) -> Study:
    variations = []
    for m in compared:
        for share in (0.0, *UNPAIRED):
            variations.append(Variation(
                f"{m.name}, {100 * share:g} % wrong", m, WrongPartners(share),
                values={"unpaired": 100 * share}, group=f"{m.name}, partners wrong",
            ))
        for share in UNPAIRED:
            variations.append(Variation(
                f"{m.name}, {100 * share:g} % missing", _as_many_windows(m, 1 - share, setup),
                PairFraction(1 - share), values={"unpaired": 100 * share},
                group=f"{m.name}, partners missing",
            ))
    return Study(
        "unpaired", "Pairs whose partner is wrong or missing", variations,
        [Axis("unpaired", "%")],
        notes=["Where partners are missing, the others are gone through more often."],
    )


def _learning_rate(setup: Setup, compared: Sequence[Method]) -> Study:
    _check_trained(compared, setup)
    variations = [
        Variation(
            f"{m.name}, rate {rate:g}", _trained_otherwise(m, setup, learning_rate=rate),
            values={"learning rate": rate}, group=m.name,
        )
        for m in compared for rate in RATES
    ]
    return Study(
        "learning_rate", "Learning rate of every method that trains by gradients", variations,
        [Axis("learning rate", scale="log")],
        notes=["For choosing rates: on other seeds than those of a comparison."],
    )


def _schedule(setup: Setup, compared: Sequence[Method]) -> Study:
    _check_trained(compared, setup)
    variations = [
        Variation(
            f"{m.name}, {schedule}", _trained_otherwise(m, setup, schedule=schedule),
            values={"schedule": schedule}, group=m.name,
        )
        for m in compared for schedule in SCHEDULES
    ]
    return Study(
        "schedule", "Learning rate constant, or falling to zero", variations,
        [Axis("schedule", scale="category")],
    )


def _check_trained(compared: Sequence[Method], setup: Setup) -> None:
    if fixed := [m.name for m in compared if _training(m, setup, "learning_rate") is None]:
        raise InputError(f"{', '.join(fixed)}: not trained by gradients, or with labels; leave it out.")


def _over(
    name: str, title: str, compared: Sequence[Method], axis: Axis,
    changes: Sequence[tuple[str, float, Change]],
) -> Study:
    """Every method under every change."""
    variations = [
        Variation(f"{m.name}, {word}", m, change, values={axis.name: value}, group=m.name)
        for word, value, change in changes for m in compared
    ]
    return Study(name, title, variations, [axis])


def _bridge(name: str, settings, values, group: str = "bridge") -> Variation:
    return Variation(name, Bridge(name, settings), values=values, group=group)


def _as_many_windows(method: Method, fraction: float, setup: Setup) -> Method:
    """Returns the method with epochs for as many windows gone through as with all pairs."""
    epochs = _training(method, setup, "epochs")
    if epochs is None and hasattr(method, "optimisation"):
        epochs = setup.settings.bridge.epochs
    return _trained_otherwise(method, setup, epochs=round(epochs / fraction)) if epochs else method


def _training(method: Method, setup: Setup, name: str) -> Any:
    """Returns a setting of a method's training; None where it has no training by gradients."""
    if isinstance(method, ClosedFormBridge):
        return None
    if isinstance(method, Bridge):
        return getattr(method.settings or setup.settings.bridge, name)
    return getattr(getattr(method, "optimisation", None), name, None)


def _trained_otherwise(method: Method, setup: Setup, **changes: Any) -> Method:
    """Returns a method with other settings of its training."""
    if isinstance(method, Bridge):
        settings = method.settings or setup.settings.bridge
        return dataclasses.replace(method, settings=dataclasses.replace(settings, **changes))
    return dataclasses.replace(
        method, optimisation=dataclasses.replace(method.optimisation, **changes)
    )


_OF_METHODS = (
    "methods", "pairs", "misalignment", "noise", "encoder_size", "unpaired", "learning_rate",
    "schedule",
)
_COMPARED = {
    "methods": methods.available(),
    "learning_rate": ("bridge", "KD", "KD-Contrast"), "schedule": ("bridge", "KD"),
}
_STUDIES: dict[str, Callable[..., Study]] = {
    "methods": _methods, "positions": _positions, "rank_prototypes": _rank_prototypes,
    "prototypes": _prototypes, "start": _start, "loss": _loss, "logits": _logits, "epochs": _epochs,
    "pairs": _pairs, "misalignment": _misalignment, "noise": _noise, "encoder_size": _encoder_size,
    "unpaired": _unpaired, "learning_rate": _learning_rate, "schedule": _schedule,
}
