"""Methods behind one interface: the bridge, its baselines, bounds and controls.

    data = StudyData.prepare(windows, old, new, settings, out="runs/study/seed_0")  # once per seed
    results, rows = {}, []
    for name in methods.available():
        fitted = methods.method(name).fit(data, seed=0)
        said = methods.predictions(fitted, data, "test", seed=0)
        results[name] = [said]                                  # one per seed and fold
        about = {"study": "baselines", "dataset": "simulation", "method": name, "split": "test"}
        rows += tidy.run_rows(about, said, fitted.cost(data))
    comparison.against_best(results, methods.baselines())

Settings are fields: `dataclasses.replace(methods.method("KD"), name="KD, T = 4", temperature=4.0)`.
"""

from jaxbridge.methods.adapters import Adapters
from jaxbridge.methods.bridge import (
    Bridge,
    ClosedFormBridge,
    HeadBridge,
    RandomBridge,
    ShuffledPairs,
)
from jaxbridge.methods.contrast import Contrast
from jaxbridge.methods.cost import Cost
from jaxbridge.methods.distillation import Distillation
from jaxbridge.methods.evaluation import predictions
from jaxbridge.methods.frozen_distillation import FrozenDistillation
from jaxbridge.methods.gradient import Optimisation
from jaxbridge.methods.last_layer import Coral, Procrustes
from jaxbridge.methods.method import Fitted, Method
from jaxbridge.methods.oracle import Oracle
from jaxbridge.methods.stitching import Stitching
from jaxbridge.methods.study_data import StudyData
from jaxbridge.methods.teacher import TeacherMethod
from jaxbridge.methods.translation import Translation
from jaxbridge.teacher import HeadSettings
from model_ports.errors import InputError

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        TeacherMethod(),
        Bridge(),
        Distillation(),
        FrozenDistillation(),
        Contrast(),
        Adapters(),
        Translation(),
        Stitching(),
        Procrustes(),
        Coral(),
        ClosedFormBridge(),
        HeadBridge(),
        RandomBridge(),
        ShuffledPairs(),
        Oracle(),
        Oracle("oracle, unfrozen", HeadSettings(unfrozen=True, learning_rate=1e-4, epochs=50)),
    )
}


def available() -> tuple[str, ...]:
    """Returns the names of all methods."""
    return tuple(METHODS)


def method(name: str) -> Method:
    """Returns a method with its default settings.

    Raises:
        InputError: no such method.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]


def baselines() -> tuple[str, ...]:
    """Returns the names of the methods that the bridge is measured against.

    They know what the bridge knows: no labels of the new modality, no signal of the old one later.
    """
    own = (Bridge.name, ClosedFormBridge.name, HeadBridge.name)
    return tuple(n for n, m in METHODS.items() if not m.is_control and n not in own)


__all__ = [
    "METHODS", "Adapters", "Bridge", "ClosedFormBridge", "Contrast", "Coral", "Cost", "Distillation",
    "Fitted", "FrozenDistillation", "HeadBridge", "Method", "Optimisation", "Oracle", "Procrustes",
    "RandomBridge", "ShuffledPairs", "Stitching", "StudyData", "TeacherMethod", "Translation",
    "available", "baselines", "method", "predictions",
]
