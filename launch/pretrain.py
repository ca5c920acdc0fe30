"""Pretrains an encoder on several labelled sets at once: one head each, uncertainty-weighted losses.

    python -m launch.pretrain --stores=A,B,C --modality=ppg --encoder=papagei --out=DIR
    python -m launch.pretrain --stores=A,B --modality=ecg,eeg --encoder=tiny_biomoe \
        --representation=waveform --weights=weights/tiny_biomoe --out=DIR
    python -m launch.transfer --old=papagei --old_weights=DIR/pretraining/encoder ...
    python -m launch.transfer --old=tiny_biomoe --old_weights=DIR/pretraining/encoder \
        --old_representation=waveform --store=WINDOWS ...

Stores are those of `launch.prepare`, all with windows of the shape that the encoder takes; classes may
differ. --modality names the signal, once or for each store. Every step takes as many windows of each
store; an epoch ends when the largest has been seen once. Tiny-BioMoE looks at signals through
--representation. Killed, it goes on where it was. Beside the encoder lie the metrics of every store.
"""

import pathlib

from absl import flags
from flax import nnx

import model_ports as mp
from jaxbridge.data.store import WindowStore
from jaxbridge.pretraining.fitting import PretrainSettings
from jaxbridge.pretraining.mixing import TaskSet
from jaxbridge.pretraining.run import pretrain_encoder
from jaxbridge.training.metric_log import KINDS
from jaxbridge.training.optimizers import OptimizerSettings
from launch.script import run
from model_ports.errors import InputError
from model_ports.representations import REPRESENTATIONS, drawn_signals

_DEFAULT = PretrainSettings()

_STORES = flags.DEFINE_list("stores", None, "Labelled window stores.", required=True)
_MODALITY = flags.DEFINE_list("modality", None, "Signal to read, one for all or each.", required=True)
_ENCODER = flags.DEFINE_string("encoder", None, "Name of the encoder.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder of the run.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder to start from; else random.")
_REPRESENTATION = flags.DEFINE_enum(
    "representation", None, sorted(REPRESENTATIONS), "How signals are drawn for an encoder of pictures."
)
_SEED = flags.DEFINE_integer("seed", 0, "Fixes initial values and orders.", lower_bound=0)
_EPOCHS = flags.DEFINE_integer("epochs", _DEFAULT.epochs, "Passes over the largest store.")
_WINDOWS = flags.DEFINE_integer(
    "windows_per_set", _DEFAULT.windows_per_set, "Windows of each store in a step."
)
_LR = flags.DEFINE_float("lr", _DEFAULT.optimizer.learning_rate, "Learning rate.")
_SCHEDULE = flags.DEFINE_enum(
    "schedule", _DEFAULT.optimizer.schedule, ["constant", "cosine", "linear"], "Of the rate."
)
_WARMUP = flags.DEFINE_integer("warmup_steps", 0, "Steps of linear warm-up.")
_HIDDEN = flags.DEFINE_integer("head_hidden", None, "Width of a hidden layer of the heads.")
_FROZEN = flags.DEFINE_list("frozen", [], "Parts of the encoder that stay, such as stem,blocks.0.")
_CHECKPOINT = flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
_LOG = flags.DEFINE_list("log", ["jsonl"], f"Where epochs are logged: {', '.join(KINDS)}.")
_RERUN = flags.DEFINE_bool("rerun", False, "Train again.")


def main() -> None:
    sets = _sets()
    settings = PretrainSettings(
        windows_per_set=_WINDOWS.value, epochs=_EPOCHS.value,
        optimizer=OptimizerSettings(_LR.value, _SCHEDULE.value, _WARMUP.value),
        hidden=_HIDDEN.value, frozen=tuple(_FROZEN.value),
    )
    found = pretrain_encoder(
        _encoder(sets), sets, settings, out=_OUT.value, seed=_SEED.value,
        checkpoint_every=_CHECKPOINT.value, log=_LOG.value,
        rerun=("pretraining",) if _RERUN.value else (),
    )
    print(f"{'set':24} {'split':6} {'windows':>8} {'accuracy':>9} {'balanced':>9} {'F1 macro':>9}")
    for row in found.metrics:
        print(
            f"{row['set']:24} {row['split']:6} {row['windows']:8,} {row['accuracy']:9.3f} "
            f"{row['balanced_accuracy']:9.3f} {row['f1_macro']:9.3f}"
        )
    print(f"Encoder: {found.folder}")


def _sets() -> list[TaskSet]:
    paths = list(map(pathlib.Path, _STORES.value))
    modalities = _MODALITY.value * (len(paths) if len(_MODALITY.value) == 1 else 1)
    if len(modalities) != len(paths):
        raise InputError(
            f"--modality has {len(modalities)} names for {len(paths)} stores; give one, or one each."
        )
    # The folder alone names a set, unless two are called the same.
    short = len({path.name for path in paths}) == len(paths)
    return [
        TaskSet(path.name if short else str(path), WindowStore.open(path), modality)
        for path, modality in zip(paths, modalities, strict=True)
    ]


def _encoder(sets: list[TaskSet]) -> mp.Encoder:
    name = _ENCODER.value
    if _WEIGHTS.value is not None:
        encoder = mp.load(_WEIGHTS.value)
        if encoder.config.name != name:
            raise InputError(f"{_WEIGHTS.value} holds {encoder.config.name}, not {name}.")
    else:
        encoder = mp.create(name, rngs=nnx.Rngs(_SEED.value), **_leads(name, sets))
    if _REPRESENTATION.value is not None:
        return drawn_signals(encoder, _REPRESENTATION.value)
    return encoder


def _leads(name: str, sets: list[TaskSet]) -> dict[str, tuple[str, ...]]:
    """LaBraM's leads, those of the windows."""
    if name != "labram":
        return {}
    known = {
        tuple(one.windows.metadata.get("modalities", {}).get(one.modality, {}).get("leads") or ())
        for one in sets
    }
    if len(known) != 1 or () in known:
        raise InputError(
            "labram needs the same leads in all stores, named in each; start from --weights of the "
            "leads wanted where stores do not name them."
        )
    return {"leads": known.pop()}


if __name__ == "__main__":
    run(main, together=True)
