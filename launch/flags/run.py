"""Flags that say what a run works on and how, shared by `transfer` and `scan`.

The same flags give the same settings, so that one goes on in the run folder of the other.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from typing import Literal

from absl import flags
from flax import nnx

import model_ports as mp
from jaxbridge import BridgeSettings, HeadSettings, TransferSettings
from jaxbridge.data.recipes import recipe
from jaxbridge.data.splits import PairSubset
from jaxbridge.data.splits.pair_fraction import check_fraction
from jaxbridge.data.store import WindowStore
from jaxbridge.training import losses, trainable
from jaxbridge.training.metric_log import KINDS
from jaxbridge.training.target_cache import PLACES, CacheSettings
from launch.flags.dataset import DATA, OF_WINDOWS, PAIR_FRACTION, eeg_leads, prepared
from launch.flags.given import refuse
from launch.shared_store import shared_store
from model_ports.encoder import POOLS
from model_ports.errors import InputError
from model_ports.representations import REPRESENTATIONS, drawn_signals
from model_ports.saving import is_saved

_HEAD, _BRIDGE, _CACHED = HeadSettings(), BridgeSettings(), CacheSettings()

_STORE = flags.DEFINE_string("store", None, "Window store to use in place of --data.")
_OLD = flags.DEFINE_string("old", "labram", "Encoder of the old modality.")
_NEW = flags.DEFINE_string("new", "hubert_ecg_small", "Encoder of the new modality.")
_OLD_WEIGHTS = flags.DEFINE_string("old_weights", None, "Folder that `convert` wrote; else random.")
_NEW_WEIGHTS = flags.DEFINE_string("new_weights", None, "Folder that `convert` wrote; else random.")
_OLD_DRAWN, _NEW_DRAWN = (
    flags.DEFINE_enum(
        f"{side}_representation", None, sorted(REPRESENTATIONS),
        f"How signals are drawn if the {side} encoder takes pictures and the windows are signals.",
    )
    for side in ("old", "new")
)
_OLD_MODALITY = flags.DEFINE_string("old_modality", "eeg", "Old modality's name in the windows.")
_NEW_MODALITY = flags.DEFINE_string("new_modality", "ecg", "New modality's name in the windows.")
_FOLD_BY_SUBJECT = flags.DEFINE_bool(
    "fold_by_subject", True, "No subject on both sides of a fold of the scan, where they are known."
)
_SCAN_FOLDS = flags.DEFINE_integer(
    "scan_folds", TransferSettings.folds,
    "Folds of the scan's probes: two classes at least need as many windows.", lower_bound=2,
)
_UNFROZEN = flags.DEFINE_bool("unfrozen", False, "Train the old encoder together with its head.")
_HIDDEN = flags.DEFINE_integer("head_hidden", None, "Width of a hidden layer of the head.")
_HEAD_LR = flags.DEFINE_float("head_lr", _HEAD.learning_rate, "Learning rate of the head.")
_HEAD_EPOCHS = flags.DEFINE_integer("head_epochs", _HEAD.epochs, "Epochs of the head.")
_HEAD_BATCH = flags.DEFINE_integer("head_batch_size", _HEAD.batch_size, "Windows per head step.")
_BALANCE = flags.DEFINE_bool("balance", _HEAD.balance, "Weigh classes by 1 / count.")
_CLASS_WEIGHTS = flags.DEFINE_list(
    "class_weights", None, "Weight of each class in place of that, such as 1,2.5."
)
_STANDARDISE = flags.DEFINE_bool(
    "standardise", _HEAD.standardise, "Fit the head on standardised features; raw ones: the paper."
)
_HEAD_PATIENCE = flags.DEFINE_integer(
    "head_patience", None, "Stop the head after so many epochs without a lower validation loss."
)
_BATCH_STATISTICS = flags.DEFINE_bool(
    "batch_statistics", _HEAD.batch_statistics,
    "With --unfrozen: batch norms normalise by the batch, and what they store follows it.",
)
_DROPOUT = flags.DEFINE_float(
    "head_dropout", _HEAD.dropout,
    "With --unfrozen: share of values that PaPaGei drops while it is trained; published: 0.5.",
)
_RANK = flags.DEFINE_integer("rank", _BRIDGE.rank, "Rank of the bridge.")
_PROTOTYPES = flags.DEFINE_integer("prototypes", _BRIDGE.num_prototypes, "Number of prototypes.")
_LAYOUT = flags.DEFINE_enum(
    "bridge_layout", _BRIDGE.layout, ["paper", "reinterpret"],
    "The paper's formula, or the authors' code with LaBraM as the old encoder.",
)
_LR = flags.DEFINE_float("lr", _BRIDGE.learning_rate, "Learning rate of the bridge.")
_EPOCHS = flags.DEFINE_integer("epochs", _BRIDGE.epochs, "Epochs of the bridge.")
_BATCH = flags.DEFINE_integer("batch_size", _BRIDGE.batch_size, "Windows per bridge step.")
_REAL = flags.DEFINE_enum(
    "prototypes_from", _BRIDGE.prototypes, ["random", "real"],
    "Initial prototypes: random, or tokens of the old encoder.",
)
_START = flags.DEFINE_enum(
    "bridge_start", _BRIDGE.start, ["random", "ridge"],
    "Where the bridge's training starts: at random values, or at a ridge map of its rank, which is "
    "steadier with few pairs.",
)
_POOL = flags.DEFINE_enum(
    "pool", _BRIDGE.pool, POOLS, "How the new encoder's tokens become the bridge's input."
)
_LOSS = flags.DEFINE_enum("loss", _BRIDGE.loss, losses.NAMES, "Alignment loss of the bridge.")
_LOCATION = flags.DEFINE_enum(
    "loss_at", _BRIDGE.location, ["last_layer", "bridge_output"], "Where the loss compares."
)
_TEMPERATURE = flags.DEFINE_float("temperature", _BRIDGE.temperature, "Of --loss=info_nce.")
_LOGITS = flags.DEFINE_float(
    "logit_weight", _BRIDGE.logit_weight, "Weight of the teacher's soft pseudo-labels in the loss."
)
_TRAINABLE = flags.DEFINE_enum(
    "trainable", _BRIDGE.trainable, list(trainable.PRESETS),
    "What is trained: the bridge, with the head (needs --logit_weight) or the old encoder's norms "
    "behind it; or of the bridge the prototypes (needs --bridge_start=ridge) or low-rank map alone.",
)
_SCHEDULE = flags.DEFINE_enum(
    "schedule", _BRIDGE.schedule, ["constant", "cosine", "linear"], "Learning rate over the steps."
)
_WARMUP = flags.DEFINE_integer("warmup_steps", _BRIDGE.warmup_steps, "Steps of linear warm-up.")
_CLIP = flags.DEFINE_float("clip_norm", None, "Largest gradient norm; none if left out.")
_DECAY = flags.DEFINE_float("weight_decay", _BRIDGE.weight_decay, "Decoupled weight decay.")
_KEEP = flags.DEFINE_enum(
    "keep", _BRIDGE.keep, ["last", "best"],
    "The bridge as it is after the last epoch, or after that of the lowest validation loss.",
)
_PATIENCE = flags.DEFINE_integer(
    "patience", None, "Stop after so many epochs without a lower validation loss."
)
_REMAT = flags.DEFINE_bool("remat", False, "Recompute activations in the backward pass.")
_CACHE = flags.DEFINE_enum(
    "cache", _CACHED.place, PLACES,
    "Where the bridge's targets are kept between epochs; auto: where --cache_budget_gb has room; "
    "recompute: nowhere, the old encoder is run again in every epoch.",
)
_BUDGET = flags.DEFINE_list(
    "cache_budget_gb", [f"{_CACHED.device_gb:g}", f"{_CACHED.host_gb:g}"],
    "GB of targets on each device, and in host memory; what is larger goes to disk.",
)
_CACHE_DTYPE = flags.DEFINE_enum(
    "cache_dtype", _CACHED.dtype, ["float32", "bfloat16"], "Type of the kept targets."
)
_CHECKPOINT = flags.DEFINE_integer(
    "checkpoint_every", TransferSettings.checkpoint_every,
    "Steps between checkpoints; SIGTERM saves one, too, when the running call ends: some ten seconds.",
    lower_bound=1,
)
_LOG = flags.DEFINE_list(
    "log", ["jsonl"], f"Where each epoch is logged: {', '.join(KINDS)}; jsonl always."
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"],
    "Compute type of both encoders; the bridge, its loss and all parameters stay float32.",
)

_log = logging.getLogger("jaxbridge")


def encoders(seed: int, store: WindowStore | PairSubset) -> tuple[mp.Encoder, mp.Encoder]:
    """Returns the old and the new encoder: weights that `convert` wrote, or random ones.

    A LaBraM with random weights gets the leads of its windows, unless --eeg_leads is given.

    Raises:
        InputError: an unknown encoder, or weights of another one.
    """
    return encoder_of("old", seed, store), encoder_of("new", seed, store)


def encoder_of(
    side: Literal["old", "new"], seed: int, store: WindowStore | PairSubset
) -> mp.Encoder:
    """Returns one of them, see `encoders`."""
    name, weights, modality, drawn_as, first_seed = {
        "old": (_OLD, _OLD_WEIGHTS, _OLD_MODALITY, _OLD_DRAWN, 0),
        "new": (_NEW, _NEW_WEIGHTS, _NEW_MODALITY, _NEW_DRAWN, 1000),
    }[side]
    leads = _leads(store, modality.value)
    encoder = _encoder(name.value, weights.value, first_seed + seed, leads)
    return encoder if drawn_as.value is None else drawn_signals(encoder, drawn_as.value)


def _leads(store: WindowStore | PairSubset, modality: str) -> tuple[str, ...]:
    known = store.metadata.get("modalities", {}).get(modality, {}).get("leads")
    return eeg_leads() if known is None or flags.FLAGS["eeg_leads"].present else tuple(known)


def _encoder(name: str, weights: str | None, seed: int, leads: tuple[str, ...]) -> mp.Encoder:
    if weights is not None:
        encoder = mp.load(weights, dtype=_DTYPE.value)
        if encoder.config.name != name:
            raise InputError(f"{weights} holds {encoder.config.name}, not {name}.")
        return encoder
    overrides = {"leads": leads} if name == "labram" else {}
    _log.info("%s: random weights (seed %d), nothing pretrained", name, seed)
    return mp.create(name, rngs=nnx.Rngs(seed), dtype=_DTYPE.value, **overrides)


def _check_encoders(store: WindowStore, of: Mapping[str, str]) -> None:
    """Refuses windows of described recordings that were preprocessed for other encoders."""
    modalities = store.metadata.get("modalities", {})
    for modality, encoder in of.items():
        made_for = modalities.get(modality, {}).get("preprocessing", {}).get("encoder")
        if made_for is not None and recipe(made_for) != recipe(encoder):
            raise InputError(
                f"the windows of {modality} were made for {made_for}, not for {encoder}: name that "
                "encoder, or change the description and prepare anew."
            )


def settings(seed: int, position: tuple[int, int] | None = None) -> TransferSettings:
    """Returns what the flags ask for; no position stands for a scan.

    Raises:
        InputError: values that are none, or flags that do not count beside the others.
    """
    if not _UNFROZEN.value:
        refuse(["batch_statistics", "head_dropout"], "counts with --unfrozen alone")
    if _LOSS.value != losses.CONTRASTIVE:
        refuse(["temperature"], f"is of --loss={losses.CONTRASTIVE}")
    check_fraction(PAIR_FRACTION.value)
    return TransferSettings(
        _OLD_MODALITY.value,
        _NEW_MODALITY.value,
        position=position,
        head=_head(),
        bridge=dataclasses.replace(
            _BRIDGE, rank=_RANK.value, num_prototypes=_PROTOTYPES.value, layout=_LAYOUT.value,
            learning_rate=_LR.value, epochs=_EPOCHS.value,
            batch_size=_BATCH.value, prototypes=_REAL.value, start=_START.value,
            pool=_POOL.value, loss=_LOSS.value,
            location=_LOCATION.value, temperature=_TEMPERATURE.value, logit_weight=_LOGITS.value,
            trainable=_TRAINABLE.value, schedule=_SCHEDULE.value, warmup_steps=_WARMUP.value,
            clip_norm=_CLIP.value, weight_decay=_DECAY.value, keep=_KEEP.value,
            patience=_PATIENCE.value, remat=_REMAT.value,
        ),
        cache=_cache(),
        checkpoint_every=_CHECKPOINT.value,
        log=tuple(_LOG.value),
        folds=_SCAN_FOLDS.value,
        fold_by_subject=_FOLD_BY_SUBJECT.value,
        seed=seed,
    )


def _head() -> HeadSettings:
    try:
        weights = _CLASS_WEIGHTS.value and tuple(map(float, _CLASS_WEIGHTS.value))
    except ValueError:
        raise InputError(
            f"--class_weights={','.join(_CLASS_WEIGHTS.value)}: give a number for each class, such "
            "as 1,2.5."
        ) from None
    return HeadSettings(
        unfrozen=_UNFROZEN.value, hidden=_HIDDEN.value, learning_rate=_HEAD_LR.value,
        epochs=_HEAD_EPOCHS.value, batch_size=_HEAD_BATCH.value, balance=_BALANCE.value,
        class_weights=weights or None, standardise=_STANDARDISE.value,
        patience=_HEAD_PATIENCE.value, batch_statistics=_BATCH_STATISTICS.value,
        dropout=_DROPOUT.value,
    )


def _cache() -> CacheSettings:
    try:
        device_gb, host_gb = map(float, _BUDGET.value)
    except ValueError:
        raise InputError(
            f"--cache_budget_gb={','.join(_BUDGET.value)}: give two numbers, for the device and for "
            "host memory, such as 1,8."
        ) from None
    return CacheSettings(_CACHE.value, device_gb, host_gb, _CACHE_DTYPE.value)


def windows(folder: pathlib.Path, seed: int) -> WindowStore | PairSubset:
    """Returns the windows of --store, or of --data, made in `folder`; --pair_fraction of the pairs.

    Raises:
        InputError: both flags or none, flags that do not count, no weights where they should be, or
            recordings that do not fit.
    """
    if (_STORE.value is None) == (DATA.value is None):
        raise InputError("give either --data (recordings) or --store (windows prepared before).")
    if _STORE.value is not None:
        refuse(OF_WINDOWS, "is for --data: the windows of a --store are made and split already")
    for side, weights in (("old", _OLD_WEIGHTS.value), ("new", _NEW_WEIGHTS.value)):
        # Before windows are made, which may take an hour.
        if weights is not None and not is_saved(pathlib.Path(weights)):
            raise InputError(
                f"--{side}_weights={weights} is not a saved encoder (a folder that launch.convert or "
                "launch.pretrain wrote)."
            )
    of = {_OLD_MODALITY.value: _OLD.value, _NEW_MODALITY.value: _NEW.value}
    drawn = {
        modality.value
        for modality, drawn_as in ((_OLD_MODALITY, _OLD_DRAWN), (_NEW_MODALITY, _NEW_DRAWN))
        if drawn_as.value is not None
    }
    if drawn and _STORE.value is None:
        raise InputError(
            "--old_representation and --new_representation draw the signals of a --store; from --data, "
            "windows are made as pictures for an encoder of pictures."
        )
    if _STORE.value is not None:
        store = WindowStore.open(_STORE.value)
    else:
        store = shared_store(lambda: prepared(folder / "windows", of, seed)[0])
    # Signals that were made for any encoder can be drawn.
    _check_encoders(store, {key: name for key, name in of.items() if key not in drawn})
    fraction = PAIR_FRACTION.value
    return store if fraction == 1 else PairSubset(store, fraction, seed)
