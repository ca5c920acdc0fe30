"""The flag --preset: a published direction's settings, wherever another flag does not say otherwise."""

from absl import flags

from launch.published.directions import ALL, direction

PRESET = flags.DEFINE_enum(
    "preset", None, list(ALL), "Settings of this direction, but for flags that are given."
)
_HEAD = {
    "unfrozen": "unfrozen", "head_hidden": "hidden", "head_lr": "learning_rate",
    "head_epochs": "epochs", "head_batch_size": "batch_size", "balance": "balance",
    "class_weights": "class_weights", "standardise": "standardise",
    "head_dropout": "dropout",
}
_BRIDGE = {
    "rank": "rank", "prototypes": "num_prototypes", "lr": "learning_rate", "epochs": "epochs",
    "batch_size": "batch_size", "loss": "loss",
}


def apply_preset() -> None:
    """Makes the preset's values the defaults of the script's flags; of flags it lacks, nothing."""
    if PRESET.value is None:
        return
    found = direction(PRESET.value)
    old, new = found.modalities
    values = {
        "dataset": found.dataset, "old": found.old, "new": found.new, "old_modality": old,
        "new_modality": new, "split": found.split, "classes": found.options.get("classes"),
        **{flag: getattr(found.head, field) for flag, field in _HEAD.items()},
        **{flag: getattr(found.bridge, field) for flag, field in _BRIDGE.items()},
    }
    if found.position is not None:
        values["position"] = f"{found.position.m},{found.position.l}"
    for name, value in values.items():
        if name in flags.FLAGS:
            listed = list(map(repr, value)) if isinstance(value, tuple) else value
            flags.FLAGS.set_default(name, listed)
