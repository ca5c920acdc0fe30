"""Which score finds the best position? Bridges trained at all of them tell.

    python -m launch.compare_selectors --out=DIR --seeds=0,1,2                   simulated people
    python -m launch.compare_selectors --data=EEGMAT --eeg_leads=F3,O1 --out=DIR

A small pair of encoders, 4 layers each, gets a bridge at every position, head included
(`truth.csv`, one row per position; a finished old layer is kept when the script is started again).
Every selector scores the positions from the pair windows and the teacher's pseudo-labels alone
(`scores.csv`); labels of the test people are used only to measure the bridges. `comparison.csv` then
says how well each selector ranks the positions by what their bridges reach on test people, and how
far its choice falls behind the best.
"""

import csv
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx

import model_ports as mp
from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, metrics
from jaxbridge.data import simulation
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.data.preparation import prepare
from jaxbridge.data.store import WindowStore
from jaxbridge.features.checks import stack
from jaxbridge.features.sweep import sweep
from jaxbridge.pipeline import scan_inputs
from jaxbridge.run_folder import write_rows
from jaxbridge.selection import joint
from jaxbridge.selection.folds import folds_by_subject, stratified_folds
from jaxbridge.selection.two_stage import two_stage
from jaxbridge.training.engine import epoch_orders
from jaxbridge.training.target_cache import TargetKind
from launch.flags.dataset import DATA, eeg_leads, prepared
from launch.flags.seeds import parsed_seeds
from launch.script import run
from launch.studies.selector_comparison import compare, text

_OUT = flags.DEFINE_string("out", None, "Folder of the comparison.", required=True)
_STEPS = flags.DEFINE_integer("steps", 420, "Training steps of each bridge.")
_BRIDGES = flags.DEFINE_integer("bridges", 2, "Bridges per position, of different initial values.")
_TEST_PEOPLE = flags.DEFINE_integer("test_people", 40, "Simulated people to measure the bridges on.")

HEAD = HeadSettings(unfrozen=True, learning_rate=5e-4, epochs=8, batch_size=32)
BRIDGE = BridgeSettings(rank=8, num_prototypes=20, learning_rate=3e-3, batch_size=16)
# Few steps need long ones.
QUICK = dataclasses.replace(BRIDGE, learning_rate=1e-2)
QUICK_STEPS = (25, 50, 100)
_LEADS = ("F3", "O1")


def encoders(seed: int, leads: Sequence[str]) -> tuple[mp.Encoder, mp.Encoder]:
    """Returns (LaBraM, HuBERT-ECG) with 4 layers each and random weights."""
    old = mp.create(
        "labram", rngs=nnx.Rngs(seed), leads=tuple(leads), depth=4, features=100, num_heads=5,
        stem_channels=4, mlp_features=200,
    )
    new = mp.create(
        "hubert_ecg_small", rngs=nnx.Rngs(1000 + seed), depth=4, features=256, num_heads=4,
        mlp_features=1024, conv_channels=(256,) * 5, position_kernel=32, position_groups=4,
    )
    return old, new


class Pair(NamedTuple):
    """What scores may use (pair windows), and what only the truth may."""

    old: mp.Encoder
    head: Any
    new: list[np.ndarray]  # pooled outputs of all windows
    old_inputs: list[np.ndarray]  # pooled inputs of all windows
    tokens: list[np.ndarray]  # pair windows: inputs of all old layers, and of the head
    last: np.ndarray  # (windows, tokens, features) last layer, all windows
    logits: np.ndarray  # (windows, classes) of the teacher
    labels: np.ndarray
    subjects: np.ndarray
    split: Mapping[str, np.ndarray]


def _windows(seed: int, folder: pathlib.Path) -> WindowStore | ArrayWindows:
    if DATA.value is not None:
        encoders_of = {"eeg": "labram", "ecg": "hubert_ecg"}
        return prepared(folder / "windows", encoders_of, seed)[0]
    sizes = {"train": 16, "val": 5, "pair": 14, "test": _TEST_PEOPLE.value}
    people = simulation.Simulated(seed=seed, sizes=sizes)
    store, _ = prepare(folder / "windows", people, people.split)
    every = np.arange(store.num_windows)
    leads = [simulation.EEG_LEADS.index(lead) for lead in _LEADS]
    return ArrayWindows(
        {"eeg": store.read("eeg", every)[:, leads], "ecg": store.read("ecg", every)},
        store.labels, store.splits, store.class_names, store.subjects,
    )


def _pair(seed: int, folder: pathlib.Path) -> Pair:
    windows = _windows(seed, folder)
    old, new = encoders(seed, _LEADS if DATA.value is None else eeg_leads())
    settings = TransferSettings("eeg", "ecg", head=HEAD, bridge=BRIDGE, seed=seed)
    given = scan_inputs(windows, old, new, settings, out=folder / "run")
    old, head = given.teacher.encoder, given.teacher.head

    def read(indices):
        return windows.read("eeg", indices)

    every = np.arange(len(windows.labels))
    last = sweep(TargetKind(old.num_layers), old, read, every, what="capturing the last layer")
    tokens = [
        sweep(
            lambda e, x, stop=stop: e.layer_input(stop, x), old, read, given.pair,
            what=f"tokens of old layer {stop}",
        )
        for stop in range(old.num_layers)
    ]
    mean = last.mean(axis=1)
    return Pair(
        old, head, [given.new_features.outputs(m) for m in range(new.num_layers)],
        [given.old_features.inputs(l) for l in range(old.num_layers)],  # noqa: E741
        [*tokens, mean[given.pair][:, None]], last, np.asarray(head(jnp.asarray(mean))), windows.labels,
        windows.subjects, {name: windows.indices(name) for name in ("pair", "val", "test")},
    )


def _truth(pair: Pair, seed: int, path: pathlib.Path) -> list[dict[str, float]]:
    """Balanced accuracy on test people, and losses, of a bridge at every position."""
    rows = _read(path)
    chosen, size = pair.split["pair"], BRIDGE.batch_size
    epochs = -(-_STEPS.value // (len(chosen) // size))
    val, test = pair.split["val"], pair.split["test"]
    labels, teacher = pair.labels[test], pair.logits.argmax(axis=1)
    names = [str(c) for c in range(pair.logits.shape[1])]
    every = itertools.product(range(_BRIDGES.value), reversed(range(len(pair.tokens))))
    for bridge, l in every:  # noqa: E741
        if any((row["bridge"], row["l"]) == (bridge, l) for row in rows):
            continue
        start = time.monotonic()
        orders = epoch_orders(len(chosen), epochs, 1000 * bridge + seed)
        order = np.concatenate([o[: len(o) // size * size] for o in orders])
        at_head = l == pair.old.num_layers
        distance, logits = joint.train_bridges(
            pair.old, pair.head, l, pair.new,
            pair.last.mean(axis=1, keepdims=True) if at_head else pair.last,
            pair.tokens[l].shape[1:], chosen[order].reshape(-1, size)[: _STEPS.value],
            np.concatenate([val, test]), BRIDGE, steps=(_STEPS.value,), seed=1000 * bridge + seed,
        )
        seconds = time.monotonic() - start
        for m in range(len(pair.new)):
            on_val, on_test = np.split(logits[0, m].argmax(axis=1), [len(val)])
            rows.append({
                "seed": seed, "bridge": bridge, "m": m, "l": l,
                "balanced_accuracy": metrics.evaluate(labels, on_test, names)["balanced_accuracy"],
                "agreement": float((on_test == teacher[test]).mean()),
                "val_loss": float(distance[0, m, : len(val)].mean()),
                "test_loss": float(distance[0, m, len(val) :].mean()),
                "val_agreement": float((on_val == teacher[val]).mean()),
                "teacher": metrics.evaluate(labels, teacher[test], names)["balanced_accuracy"],
                "seconds_per_bridge": seconds / len(pair.new),
            })
        write_rows(path, rows)
    return rows


def _scores(pair: Pair, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Scores (new layers, old layers + head), the higher the better, and seconds of each selector."""
    chosen = pair.split["pair"]
    logits, groups = pair.logits[chosen], pair.subjects[chosen]
    pseudo, soft = logits.argmax(axis=1), np.asarray(jax.nn.softmax(logits))
    new = [x[chosen] for x in pair.new]
    scores: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}

    def timed(name, function):
        start = time.monotonic()
        found = function()
        seconds[name] = time.monotonic() - start
        return found

    def agreement(z):
        return (z.argmax(axis=-1) == pseudo).mean(axis=-1)

    def certainty(z, soft=soft):
        return np.asarray((jax.nn.log_softmax(z) * soft).sum(axis=-1).mean(axis=-1))

    def no_head(table):
        return np.pad(table, ((0, 0), (0, 1)), constant_values=np.nan)

    num_folds = folds_by_subject(5, groups)
    inputs = [x[chosen] for x in pair.old_inputs]
    folds = stratified_folds(pseudo, num_folds, groups=groups)

    def two(**settings):
        return two_stage(new, inputs, pseudo, num_folds=num_folds, **settings)

    for name, settings in (
        ("two-stage, folds by subject", {"groups": groups}),
        ("two-stage, folds by window", {}),
        ("two-stage, log loss, by subject", {"groups": groups, "criterion": "log_loss"}),
    ):
        found = timed(name, lambda settings=settings: two(**settings))
        probe = found.probe_scores.mean(axis=1) * (-1 if found.criterion == "log_loss" else 1)
        # The probe first, CKA among positions of the same new layer.
        scores[name] = no_head(1e3 * probe[:, None] + found.cka)
    scores["CKA alone"] = no_head(found.cka)
    scores["debiased CKA alone"] = no_head(found.cka_debiased)
    stacked = stack(new)[0]
    scores["ridge R2, token means"] = timed("ridge R2, token means", lambda: joint.ridge_maps(
        stacked, np.stack([joint.gram(h.mean(axis=1)) for h in pair.tokens]), folds
    )).r2
    maps = timed("ridge R2, all tokens", lambda: joint.ridge_maps(
        stacked, np.stack([joint.gram(h) for h in pair.tokens]), folds
    ))
    scores["ridge R2, all tokens"] = maps.r2
    first = timed("ridge, first order", lambda: joint.first_order_logits(
        pair.old, pair.head, maps, pair.tokens, logits
    ))
    scores["ridge, first order: agreement"] = agreement(first)
    scores["ridge, first order: cross-entropy"] = certainty(first)
    distance, z = timed("ridge, pushed", lambda: joint.pushed(
        pair.old, pair.head, maps, pair.tokens, pair.last[chosen]
    ))
    scores["ridge, pushed: cosine"] = -distance.mean(axis=-1)
    scores["ridge, pushed: agreement"] = agreement(z)
    scores["ridge, pushed: cross-entropy"] = certainty(z)
    held = folds[0] | folds[1]
    rng, seen = np.random.default_rng(seed), np.flatnonzero(~held)
    rows = np.concatenate([rng.permutation(seen) for _ in range(100)])
    rows = rows[: QUICK_STEPS[-1] * QUICK.batch_size].reshape(-1, QUICK.batch_size)

    def quick():
        return [
            joint.train_bridges(
                pair.old, pair.head, l, new,
                tokens if l == pair.old.num_layers else pair.last[chosen],
                tokens.shape[1:], rows, np.flatnonzero(held), QUICK, steps=QUICK_STEPS, seed=seed,
            )
            for l, tokens in enumerate(pair.tokens)  # noqa: E741
        ]

    trained = timed(f"{QUICK_STEPS[-1]} steps", quick)
    for k, steps in enumerate(QUICK_STEPS):
        distance = np.stack([d[k] for d, _ in trained], axis=1)
        z = np.stack([z[k] for _, z in trained], axis=1)
        scores[f"{steps} steps: cosine"] = -distance.mean(axis=-1)
        scores[f"{steps} steps: agreement"] = (z.argmax(axis=-1) == pseudo[held]).mean(axis=-1)
        scores[f"{steps} steps: cross-entropy"] = certainty(z, soft[held])
    return scores, seconds


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {k: v if k == "selector" else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def main() -> None:
    out = pathlib.Path(_OUT.value)
    truth, scores = [], []
    for seed in parsed_seeds():
        folder = out / f"seed_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        pair = _pair(seed, folder)
        truth += _truth(pair, seed, folder / "truth.csv")
        path = folder / "scores.csv"
        if not path.exists():
            found, seconds = _scores(pair, seed)
            write_rows(path, [
                {
                    "selector": name, "seed": seed, "m": m, "l": l, "score": float(value),
                    "seconds": next((s for k, s in seconds.items() if name.startswith(k)), np.nan),
                }
                for name, table in found.items() for (m, l), value in np.ndenumerate(table)  # noqa: E741
            ])
        scores += _read(path)
        rows = compare(truth, scores)
        write_rows(out / "comparison.csv", rows)
        print(text(rows))


if __name__ == "__main__":
    run(main)
