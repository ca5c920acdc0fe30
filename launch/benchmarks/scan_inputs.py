"""Features and labels to measure probes and CKA with, the same in every process."""

import pathlib

import numpy as np

_TELLING = 8


def labels(windows: int, classes: int) -> np.ndarray:
    """Returns (windows,) classes, the first ones more frequent."""
    shares = np.arange(classes, 0, -1) / np.arange(classes, 0, -1).sum()
    return np.random.default_rng(7).choice(classes, windows, p=shares)


def features(
    layers: int, windows: int, width: int, spectrum: str, *, seed: int = 0, classes: int = 3
) -> np.ndarray:
    """Returns (layers, windows, width) float32, of which 8 directions tell the classes.

    Args:
        layers, windows, width: sizes.
        spectrum: "iid" noise of deviation 1, or "power_law": rotated axes whose deviations fall as
            rank to the power -0.75 from sqrt(width) / 2, as the features of encoders do.
        seed: fixes the values.
        classes: number of classes of `labels`.
    """
    rng = np.random.default_rng(seed)
    known = labels(windows, classes)
    x = rng.standard_normal((layers, windows, width), np.float32)
    telling = min(_TELLING, width)
    for layer in x:
        layer[:, :telling] += 0.7 * rng.standard_normal((classes, telling), np.float32)[known]
    if spectrum == "power_law":
        axes = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
        axes *= 0.5 * np.sqrt(width) * np.arange(1, width + 1, dtype=np.float32)[:, None] ** -0.75
        for layer in x:
            layer[:] = layer @ axes
    return x


def probe_inputs(
    layers: int, windows: int, width: int, spectrum: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features and (windows,) classes to probe.

    Args:
        layers, windows, width: sizes.
        spectrum: as for `features`, with three classes; or a file of `write_encoder_features`,
            which has the sizes and classes that it has.
    """
    if pathlib.Path(spectrum).suffix == ".npz":
        with np.load(spectrum) as file:
            return file["features"], file["labels"]
    return features(layers, windows, width, spectrum), labels(windows, 3)


def write_encoder_features(path: pathlib.Path) -> None:
    """Writes what a user probes: token means of an encoder, here with random weights.

    All 12 layers of 768 features of HuBERT-ECG base on 2,000 simulated ECG windows of 84 people, at
    rest or under load.
    """
    from flax import nnx

    import model_ports as mp
    from jaxbridge.data import simulation
    from jaxbridge.data.memory import ArrayWindows
    from jaxbridge.features.store import ensure_features

    people = simulation.Simulated(sizes={"train": 84, "val": 0, "pair": 0, "test": 0})
    batches = [people.windows(recording) for recording in people.recordings]
    given = np.concatenate([batch.labels for batch in batches])[:2000]
    ecg = np.concatenate([batch.arrays["ecg"] for batch in batches])[:2000]
    encoder = mp.create("hubert_ecg_base", rngs=nnx.Rngs(0))
    store = ensure_features(
        path.parent / "store", encoder,
        ArrayWindows({"ecg": ecg}, given, np.full(2000, "pair"), simulation.CLASSES), "ecg",
    )
    layers = np.stack([store.outputs(i) for i in range(store.num_layers)])
    np.savez(path, features=layers, labels=given)
