"""The exported model runs without this package, and is judged as the bridge it came from."""

import ast
import csv
import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import model_ports as mp
from jaxbridge import BridgedModel, BridgeSettings, TaskHead, metrics, save_pretrained
from jaxbridge.data.store import WindowBatch, WindowStore, write_store
from jaxbridge.evaluation import evaluate_windows
from jaxbridge.exporting import export_model, read_export
from jaxbridge.pretrained import pretrained_config
from jaxbridge.training.bridging import new_bridge
from model_ports.errors import InputError
from model_ports.representations import REPRESENTATIONS, drawn_signals
from tests.jaxbridge import tiny
from tests.jaxbridge.test_pretrained import bridged
from tests.jaxbridge.toy import Toy
from tests.jaxbridge.toy_pictures import ToyPictures
from tests.launch.one_process import outputs
from tests.launch.test_scripts import run

_ALONE = """
import sys
for name in ("jaxbridge", "model_ports", "launch", "flax"):
    sys.modules[name] = None  # whoever imports it fails
import jax.export, numpy as np
with open(sys.argv[1], "rb") as file:
    model = jax.export.deserialize(bytearray(file.read()))
signal = np.load(sys.argv[2])
np.savez(sys.argv[3], one=model.call(signal[:1]), five=model.call(signal))
"""
_SIGNALS = {
    "labram": (2, 2, 200), "papagei": (1, 1250), "ecg_fm": (12, 2500), "normwear": (2, 390),
    "ecg_dualnet": (1, 18000), "tiny_biomoe": (3, 224, 224),
}

_SMALLER = {
    "labram": {"leads": ("O1", "O2"), "depth": 2},
    "papagei": {}, "ecg_dualnet": {}, "tiny_biomoe": {},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bridge, its encoders, windows, and the exported model."""
    folder = tmp_path_factory.mktemp("made")
    model, windows = bridged(), tiny.windows()
    mp.save(model.old, folder / "old")
    mp.save(model.new, folder / "new")
    save_pretrained(
        model, folder / "bridge", class_names=windows.class_names, modalities=("ecg", "eeg"),
        signal_shapes=((600,), (2, 2, 200)), preprocessing={"window_s": 6, "rate_hz": 100},
    )
    batches = []
    for split in ("train", "val", "pair", "test"):
        chosen = windows.indices(split)
        arrays = {name: windows.read(name, chosen) for name in windows.modalities}
        batches.append(WindowBatch(arrays, windows.labels[chosen], split, split, split))
    about = {"class_names": list(windows.class_names), "sources": {}, "window_s": 2}
    write_store(folder / "windows", batches, about)
    flags = [f"--bridge={folder / 'bridge'}", f"--old_weights={folder / 'old'}",
             f"--new_weights={folder / 'new'}"]
    done = run("export", *flags, f"--out={folder / 'model.bin'}")
    assert done.returncode == 0, done.stderr
    return types.SimpleNamespace(folder=folder, model=model, flags=flags)


def test_another_process_runs_it_without_this_package(made, tmp_path):
    signal = tiny.windows().read("ecg", np.arange(5))
    np.save(tmp_path / "signal.npy", signal)
    subprocess.run(
        [sys.executable, "-c", _ALONE, str(made.folder / "model.bin"),
         str(tmp_path / "signal.npy"), str(tmp_path / "logits.npz")],
        check=True, cwd=tmp_path,
    )
    want = np.asarray(jax.jit(lambda m, x: m(x))(made.model, signal))
    with np.load(tmp_path / "logits.npz") as found:
        np.testing.assert_allclose(found["five"], want, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found["one"], want[:1], rtol=1e-6, atol=1e-6)
    assert np.abs(want - want[:1]).max() > 1e-3


def test_the_file_beside_it_tells_what_it_takes(made):
    record = json.loads((made.folder / "model.bin.json").read_text())
    assert record["input"]["shape"] == ["batch", 600] and record["output"]["shape"] == ["batch", 2]
    assert record["platforms"] == ["cpu", "cuda", "tpu"]
    assert record["class_names"] == ["slow", "fast"]
    assert record["old"]["weights_hash"] == mp.weights_hash(made.model.old)


@pytest.mark.parametrize("which", ["bridge", "artifact"])
@pytest.mark.slow
def test_evaluate_works_from_either(made, tmp_path, which):
    flags = made.flags if which == "bridge" else [f"--artifact={made.folder / 'model.bin'}"]
    done = run("evaluate", *flags, f"--store={made.folder / 'windows'}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "differ from those of the training in: window_s" in done.stderr
    windows = tiny.windows()
    test = windows.indices("test")
    predicted = np.asarray(jax.jit(lambda m, x: m(x))(made.model, windows.read("ecg", test)))
    want = metrics.evaluate(windows.labels[test], predicted.argmax(axis=1), windows.class_names)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert {key: found[key] for key in want} == want
    with (tmp_path / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["kappa"]) == want["kappa"] and row["split"] == "test"
    with (tmp_path / "confusion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [[int(r["slow"]), int(r["fast"])] for r in rows] == want["confusion"]
    assert f"balanced_accuracy  {want['balanced_accuracy']:.3f}" in done.stdout


def test_a_class_called_true_keeps_its_counts_and_names_in_the_confusion_matrix():
    body = "print(script.confusion_rows(('false', 'true'), [[3, 1], [0, 2]]))"
    found, = outputs("evaluate", [["--store=x", "--out=x"]], body)
    assert ast.literal_eval(found) == [
        {"true class": "false", "false": 3, "true": 1}, {"true class": "true", "false": 0, "true": 2}
    ]


def test_windows_that_do_not_fit_the_model(made):
    windows = WindowStore.open(made.folder / "windows")
    config = pretrained_config(made.folder / "bridge")

    def refused(message, split="test", modality=None, **changed):
        with pytest.raises(InputError, match=message):
            evaluate_windows(made.model, config | changed, windows, split, modality=modality)

    refused("no split 'tests'", split="tests")
    refused("no modality 'ppg'", modality="ppg")
    refused(r"windows of eeg have shape \(2, 2, 200\), the model takes \(600,\)", modality="eeg")
    refused("classes slow, fast, the model fast, slow", class_names=["fast", "slow"])


def test_damaged_and_foreign_files_are_refused(made, tmp_path):
    content = (made.folder / "model.bin").read_bytes()
    beside = (made.folder / "model.bin.json").read_text()
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="are no exported model"):
        read_export(path)
    (tmp_path / "model.bin.json").write_text(beside)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="differs from what model.bin.json tells of"):
        read_export(path)


def test_an_unknown_platform_is_refused(made):
    with pytest.raises(InputError, match="platforms are gpu; choose out of cpu, cuda, rocm, tpu"):
        export_model(made.model, (600,), platforms=["gpu"])
    with pytest.raises(InputError, match="platforms are cpu, cpu; name each once"):
        export_model(made.model, (600,), platforms=["cpu", "cpu"])
    with pytest.raises(InputError, match="takes a signal of shape"):
        export_model(made.model, (2, 600))


def test_an_encoder_that_needs_a_concrete_batch_size_is_refused():
    class Asking(Toy):
        def embed(self, signal):
            return super().embed(2 * signal if signal.shape[0] > 4 else signal)

    old, new = Toy(rngs=nnx.Rngs(0)), Asking(rngs=nnx.Rngs(1))
    shapes = ((1, 4, 3), (1, 4, 3))
    bridge = new_bridge(new, old, (1, 1), shapes, BridgeSettings(rank=2, num_prototypes=3), seed=0)
    head = TaskHead(3, 2, rngs=nnx.Rngs(2), context={"gain": jnp.ones((1, 3))})
    with pytest.raises(InputError, match="toy into toy cannot be exported .*'batch' > '4' is inconcl"):
        export_model(BridgedModel(new, old, bridge, head, (1, 1)), (4, 3))


@pytest.mark.parametrize("name", mp.available())
def test_every_encoder_is_lowered_for_any_batch_size_and_platform(name, monkeypatch):
    """As in a process of one device, where batches are otherwise computed in groups."""
    monkeypatch.setattr("model_ports.batch_groups.cache_bytes", lambda: 1)
    leaves, structure = jax.tree.flatten(mp.abstract(name, **_SMALLER.get(name, {"depth": 2})))
    (batch,) = export.symbolic_shape("batch")
    signal = jax.ShapeDtypeStruct((batch, *_SIGNALS.get(name, (600,))), jnp.float32)

    def final(leaves, signal):
        return jax.tree.unflatten(structure, leaves).activations(signal).final

    exported = export.export(jax.jit(final), platforms=("cpu", "cuda", "tpu"))(leaves, signal)
    assert str(exported.out_avals[0].shape[0]) == "batch"


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_picture_of_a_signal_is_lowered_for_any_batch_size_and_platform(name):
    """Encoders of pictures that draw their signals are exported with what draws."""
    draw = drawn_signals(ToyPictures(rngs=nnx.Rngs(0)), name).config.drawn_as
    (batch,) = export.symbolic_shape("batch")
    signal = jax.ShapeDtypeStruct((batch, 300), jnp.float32)
    exported = export.export(jax.jit(draw), platforms=("cpu", "cuda", "tpu"))(signal)
    for count in (1, 3):
        given = np.random.default_rng(count).standard_normal((count, 300)).astype(np.float32)
        np.testing.assert_allclose(exported.call(given), jax.jit(draw)(given), atol=1e-6)
