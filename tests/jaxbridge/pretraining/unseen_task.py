"""What pretraining is worth on a task that it did not see.

    python -m tests.jaxbridge.pretraining.unseen_task [--left_out] [SEED ...]

A small PaPaGei is pretrained on a set for each factor; then a linear head is fitted to its frozen
embeddings of a set labelled with the state, which it did not see, and to those of the same encoder
before. With --left_out it is pretrained on all factors but one, and that one takes the state's place: a
factor that no seen label depends on.
"""

import sys
import time

import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge.features.sweep import sweep
from jaxbridge.pretraining import PretrainSettings, TaskSet, pretrain
from jaxbridge.teacher import HeadSettings, fit_head
from jaxbridge.training.optimizers import OptimizerSettings
from model_ports.encoder import token_mean
from tests.jaxbridge.pretraining.factors import FACTORS, STATE, labelled


def small_encoder(seed: int) -> mp.Encoder:
    """PaPaGei with a third of its blocks and a quarter of its widths."""
    return mp.create("papagei", rngs=nnx.Rngs(seed), depth=6, features=8, embedding_features=16)


def probed(encoder: mp.Encoder, windows, seed: int) -> float:
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


def compare(unseen: str, seed: int, *, windows: int = 1200, epochs: int = 6) -> dict[str, float]:
    """Returns accuracies on the unseen task's test windows, and on the seen ones' by their heads."""
    encoder = small_encoder(seed)
    seen = [name for name in FACTORS if name != unseen]
    sets = [TaskSet(name, labelled(name, windows, seed), "signal") for name in seen]
    settings = PretrainSettings(
        windows_per_set=16, epochs=epochs, optimizer=OptimizerSettings(learning_rate=2e-3)
    )
    model, _ = pretrain(encoder, sets, settings, seed=seed)
    left_out = labelled(unseen, windows, seed)
    found = {
        "random": probed(encoder, left_out, seed), "pretrained": probed(model.encoder, left_out, seed),
    }
    for number, one in enumerate(sets):
        test = one.windows.indices("test")
        logits = sweep(
            _logits, model, lambda rows, one=one: one.windows.read("signal", rows), test,
            batch_size=64, what=one.name,
        )[number]
        found[one.name] = float((logits.argmax(axis=1) == one.windows.labels[test]).mean())
    return found


def _embedding(encoder, signal):
    return token_mean(encoder(signal))


def _logits(model, signal):
    return model(signal)


if __name__ == "__main__":
    words = sys.argv[1:]
    factors = "--left_out" in words
    for seed in [int(word) for word in words if word != "--left_out"] or range(5):
        for unseen in FACTORS if factors else (STATE,):
            start = time.process_time()
            row = compare(unseen, seed)
            print(
                f"seed {seed}, {unseen} unseen: "
                + ", ".join(f"{name} {value:.3f}" for name, value in row.items())
                + f"; {time.process_time() - start:.0f} CPU s",
                flush=True,
            )
