"""What pretraining is worth on a task that it did not see.

    python -m tests.jaxbridge.pretraining.unseen_task [--encoder=tiny_biomoe] [--shuffled] [SEED ...]

A small encoder is pretrained on a set for each factor; then a linear head is fitted to its frozen
embeddings of a set labelled with the state, which it did not see, and to those of the same encoder
before. With --shuffled it is also pretrained on shuffled labels. With --left_out it is pretrained on
all factors but one, and that one takes the state's place: a factor that no seen label depends on.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge.data.memory import ArrayWindows
from jaxbridge.features.sweep import sweep
from jaxbridge.pretraining import MultiTask, PretrainSettings, TaskSet, pretrain
from jaxbridge.teacher import HeadSettings, fit_head
from jaxbridge.training.optimizers import OptimizerSettings
from model_ports.encoder import token_mean
from model_ports.representations import drawn_signals
from tests.jaxbridge.pretraining.factors import FACTORS, STATE, labelled


def small_papagei(seed: int) -> mp.Encoder:
    """PaPaGei with a third of its blocks and a quarter of its widths."""
    return mp.create("papagei", rngs=nnx.Rngs(seed), depth=6, features=8, embedding_features=16)


def small_tiny_biomoe(seed: int) -> mp.Encoder:
    """Tiny-BioMoE on spectrograms of 64 pixels, with all its layers and a fraction of their widths."""
    encoder = mp.create(
        "tiny_biomoe", rngs=nnx.Rngs(seed), image_size=64, stem_features=8,
        spectral_features=(16, 24), attention_features=(32, 32), attention_heads=(2, 2),
        mlp_ratios=(2, 2, 2, 2), vit_features=(24, 32, 32), vit_heads=(2, 2, 2), key_features=8,
        window=2,
    )
    return drawn_signals(encoder, "spectrogram_psd", frame_samples=64, hop_samples=8)


# and the epochs of its pretraining
ENCODERS: dict[str, tuple[Callable[[int], mp.Encoder], int]] = {
    "papagei": (small_papagei, 6), "tiny_biomoe": (small_tiny_biomoe, 3),
}


def probed(encoder: mp.Encoder, windows: ArrayWindows, seed: int) -> float:
    """Returns the test accuracy of a linear head on the encoder's frozen embeddings."""
    everything = np.arange(len(windows.labels))
    features = sweep(
        _embedding, encoder, lambda rows: windows.read("signal", rows), everything, batch_size=64,
        what="embedding",
    )
    train, val = (
        (features[windows.indices(split)], windows.labels[windows.indices(split)])
        for split in ("train", "val")
    )
    head, _ = fit_head(
        train, val, len(windows.class_names), HeadSettings(epochs=100, learning_rate=1e-2), seed=seed,
        what="probe",
    )
    test = windows.indices("test")
    found = np.asarray(head(features[test])).argmax(axis=1)
    return float((found == windows.labels[test]).mean())


def compare(
    unseen: str, seed: int, *, encoder: str = "papagei", shuffled: bool = False, windows: int = 1200
) -> dict[str, float]:
    """Returns accuracies on the unseen task's test windows, and on the seen ones' by their heads."""
    create, epochs = ENCODERS[encoder]
    start = create(seed)
    seen = {name: labelled(name, windows, seed) for name in FACTORS if name != unseen}
    left_out = labelled(unseen, windows, seed)
    model = pretrained(start, seen, seed, epochs)
    found = {
        "random": probed(start, left_out, seed), "pretrained": probed(model.encoder, left_out, seed),
    }
    if shuffled:
        rng = np.random.default_rng([seed, len(FACTORS)])
        control = pretrained(
            start, {name: _relabelled(one, rng) for name, one in seen.items()}, seed, epochs
        )
        found["shuffled labels"] = probed(control.encoder, left_out, seed)
    for number, (name, one) in enumerate(seen.items()):
        test = one.indices("test")
        logits = sweep(
            _logits, model, lambda rows, one=one: one.read("signal", rows), test, batch_size=64,
            what=name,
        )[number]
        found[name] = float((logits.argmax(axis=1) == one.labels[test]).mean())
    return found


def pretrained(
    encoder: mp.Encoder, sets: dict[str, ArrayWindows], seed: int, epochs: int
) -> MultiTask:
    """Returns an encoder trained on all sets, with its heads."""
    settings = PretrainSettings(
        windows_per_set=16, epochs=epochs, optimizer=OptimizerSettings(learning_rate=2e-3)
    )
    tasks = [TaskSet(name, one, "signal") for name, one in sets.items()]
    return pretrain(encoder, tasks, settings, seed=seed)[0]


def _relabelled(one: ArrayWindows, rng: np.random.Generator) -> ArrayWindows:
    everything = np.arange(len(one.labels))
    signals = {"signal": one.read("signal", everything)}
    return ArrayWindows(signals, rng.permutation(one.labels), one.splits, one.class_names)


def _embedding(encoder, signal):
    return token_mean(encoder(signal))


def _logits(model, signal):
    return model(signal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", choices=ENCODERS, default="papagei")
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--left_out", action="store_true")
    parser.add_argument("seeds", nargs="*", type=int, default=range(5))
    given = parser.parse_args()
    for seed in given.seeds:
        for unseen in FACTORS if given.left_out else (STATE,):
            start = time.process_time()
            row = compare(unseen, seed, encoder=given.encoder, shuffled=given.shuffled)
            print(
                f"seed {seed}, {unseen} unseen: "
                + ", ".join(f"{name} {value:.3f}" for name, value in row.items())
                + f"; {time.process_time() - start:.0f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
