"""Features on disk: the encoder's own, computed once, whatever the devices, kills and batches."""

import gc
import json
import logging
import pathlib
import subprocess
import sys
import tracemalloc

import jax
import numpy as np
import pytest
from flax import nnx

from jaxbridge.features.layout import FeatureLayout
from jaxbridge.features.store import FeatureStore, ensure_features
from jaxbridge.features.writer import windows_done
from jaxbridge.selection.cka import linear_cka
from jaxbridge.selection.cka_streaming import CkaSums
from model_ports import Activations, registry
from model_ports.errors import InputError
from tests.golden import relative_error
from tests.jaxbridge import tiny
from tests.jaxbridge.features.capture_child import BATCH, Waves
from tests.jaxbridge.toy import Toy


class Recorded(Waves):
    """Waves that remember which windows were read."""

    def __init__(self, count: int, name: str = "waves"):
        super().__init__(count)
        self.hash, self.reads = name, []

    def read(self, modality, indices):
        self.reads.extend(indices.tolist())
        return super().read(modality, indices)


def _toy(seed: int = 0) -> Toy:
    return Toy(rngs=nnx.Rngs(seed))


def _layers(encoder, signal) -> list[np.ndarray]:
    """Tokens at every boundary, layer by layer."""
    tokens, context = encoder.embed(signal), encoder.context(signal)
    found = [tokens]
    for i in range(encoder.num_layers):
        found.append(tokens := encoder.run(tokens, i, i + 1, context))
    return [np.asarray(t) for t in found]


def _contents(store: FeatureStore) -> list[bytes]:
    arrays = [read(i) for i in range(store.num_layers) for read in (store.inputs, store.outputs)]
    return [a.tobytes() for a in [*arrays, store.final(), store.windows]]


@pytest.mark.parametrize(
    "pool, reduce",
    [("mean", lambda t: t.mean(axis=1)), ("max", lambda t: t.max(axis=1))],
)
def test_features_are_the_pooled_tokens_of_each_layer(tmp_path, pool, reduce):
    windows, toy = Waves(40), _toy()
    chosen = np.array([5, 0, 17, 3, 39, 2, 21, 20, 19, 1, 8])
    store = ensure_features(
        tmp_path, toy, windows, "signal", indices=chosen, pool=pool, batch_size=3, block_windows=4
    )
    assert (store.num_layers, store.widths, store.input_widths) == (2, (3, 3), (3, 3))
    np.testing.assert_array_equal(store.windows, chosen)
    tokens = _layers(toy, windows.read("signal", chosen))
    some = np.array([19, 5, 5, 39])
    rows = [8, 0, 0, 4]
    for i in range(2):
        np.testing.assert_allclose(store.inputs(i), reduce(tokens[i]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(store.outputs(i), reduce(tokens[i + 1]), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(store.outputs(i, some), store.outputs(i)[rows])
        np.testing.assert_array_equal(store.stack("inputs", some)[i], store.inputs(i)[rows])
    np.testing.assert_allclose(store.final(), tokens[-1].mean(axis=1), rtol=1e-5, atol=1e-6)


def test_the_class_token_where_there_is_one(tmp_path):
    old, new = tiny.encoders()
    windows = tiny.windows()
    with pytest.raises(InputError, match="hubert_ecg_small has no class token; pool by mean or max"):
        ensure_features(tmp_path, new, windows, "ecg", pool="cls")
    with pytest.raises(InputError, match="pooling 'median' is unknown; use one of mean, max, cls"):
        ensure_features(tmp_path, new, windows, "ecg", pool="median")
    assert not any(tmp_path.iterdir())
    store = ensure_features(tmp_path, old, windows, "eeg", indices=range(9), pool="cls")
    tokens = _layers(old, windows.read("eeg", np.arange(9)))
    for i in range(old.num_layers):
        np.testing.assert_allclose(store.inputs(i), tokens[i][:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(store.outputs(i), tokens[i + 1][:, 0], rtol=1e-4, atol=1e-5)


class Gapped(Toy):
    """Something happens between its layers: the input of layer 1 is not the output of layer 0."""

    def activations(self, signal, pool="mean"):
        found = super().activations(signal, pool)
        return Activations((found.inputs[0], 2 * found.inputs[1]), found.outputs, found.final)


def test_what_two_layers_share_is_stored_once_and_only_that(tmp_path):
    windows = Waves(10)
    chain = ensure_features(tmp_path, _toy(), windows, "signal")
    assert not (chain.path / "input_1").exists()
    np.testing.assert_array_equal(chain.inputs(1), chain.outputs(0))
    gapped = ensure_features(tmp_path, Gapped(rngs=nnx.Rngs(0)), windows, "signal")
    assert gapped.path != chain.path
    assert (gapped.path / "input_1").exists()
    np.testing.assert_allclose(gapped.inputs(1), 2 * chain.outputs(0), rtol=1e-6)
    np.testing.assert_allclose(gapped.outputs(1), chain.outputs(1), rtol=1e-6)


def test_two_experts_share_no_features_where_one_ends():
    config = registry.port("tiny_biomoe").config
    encoder = registry.abstract("tiny_biomoe", config)
    layout = FeatureLayout.of(encoder, (3, config.image_size, config.image_size))
    assert layout.num_layers == encoder.num_layers
    own = {i for i in range(encoder.num_layers) if f"input_{i}" not in layout.same}
    second_expert = len(encoder.spectformer.blocks) + 1
    # Besides where an expert or the fusion starts, the layers whose input shape is another.
    shapes = config.layer_shapes()
    wanted = {i for i in range(1, encoder.num_layers) if shapes[i][0] != shapes[i - 1][1]}
    assert own == wanted | {0, second_expert, encoder.num_layers - 1}


def test_asked_again_nothing_is_computed_and_anything_changed_is(tmp_path, caplog):
    caplog.set_level(logging.INFO, "jaxbridge")
    windows = Recorded(20)
    first = ensure_features(tmp_path, _toy(), windows, "signal", indices=range(12))
    assert sorted(windows.reads) == list(range(12))
    assert "not computed again" not in caplog.text
    windows.reads.clear()
    again = ensure_features(tmp_path, _toy(), windows, "signal", indices=range(12), batch_size=5)
    assert windows.reads == [] and again.path == first.path
    assert caplog.text.count(f"all layers of toy: found in {first.path}, not computed again") == 1

    other_unit = _toy()
    other_unit.config = other_unit.config.override(unit="mV")
    changes = [
        (_toy(1), windows, "signal", {"indices": range(12)}),
        (other_unit, windows, "signal", {"indices": range(12)}),
        (_toy(), Recorded(20, "other"), "signal", {"indices": range(12)}),
        (_toy(), windows, "else", {"indices": range(12)}),
        (_toy(), windows, "signal", {"indices": range(11)}),
        (_toy(), windows, "signal", {"indices": range(11, -1, -1)}),
        (_toy(), windows, "signal", {"indices": range(12), "pool": "max"}),
    ]
    paths = {first.path}
    for encoder, read, modality, settings in changes:
        read.reads.clear()
        store = ensure_features(tmp_path, encoder, read, modality, **settings)
        assert sorted(read.reads) == sorted(settings["indices"])
        paths.add(store.path)
    windows.reads.clear()
    with jax.default_matmul_precision("highest"):
        paths.add(ensure_features(tmp_path, _toy(), windows, "signal", indices=range(12)).path)
    assert len(windows.reads) == 12
    assert len(paths) == len(list(tmp_path.iterdir())) == 2 + len(changes)


def test_a_store_of_other_weights_or_windows_is_refused(tmp_path):
    windows = Recorded(6)
    path = ensure_features(tmp_path, _toy(), windows, "signal").path
    key = FeatureStore.open(path, encoder=_toy(), windows=windows).key
    with pytest.raises(InputError, match="of other weights: (.*) there, (.*) given") as refused:
        FeatureStore.open(path, encoder=_toy(1))
    assert key["weights_hash"] in str(refused.value)
    with pytest.raises(InputError, match="of other windows: waves there, other given"):
        FeatureStore.open(path, windows=Recorded(6, "other"))
    with pytest.raises(InputError, match="no feature store"):
        FeatureStore.open(tmp_path)
    with pytest.raises(InputError, match="covers 6 windows, not window 6"):
        FeatureStore.open(path).outputs(0, [2, 6])
    with pytest.raises(InputError, match="no layer 2; .* has layers 0 to 1"):
        FeatureStore.open(path).inputs(2)


@pytest.mark.parametrize("harm", ["lost", "short"])
def test_damaged_features_are_not_handed_out(tmp_path, harm):
    store = ensure_features(tmp_path, _toy(), Waves(32), "signal", batch_size=8, block_windows=8)
    chunk = store.path / "output_1" / "2.0"
    if harm == "lost":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-4])
    opened = FeatureStore.open(store.path)
    assert opened.outputs(1, range(16)).shape == (16, 3)
    with pytest.raises(InputError, match="is damaged.*Remove it and compute it again"):
        opened.outputs(1)


def test_a_store_that_lost_the_list_of_its_windows_is_damaged(tmp_path):
    """It reads as zeros: window 0 in every row."""
    path = ensure_features(tmp_path, _toy(), Waves(8), "signal", indices=range(2, 8)).path
    (chunk,) = (path / "window").glob("0*")
    chunk.unlink()
    with pytest.raises(InputError, match="is damaged: .*windows.*twice. Remove it"):
        FeatureStore.open(path)


@pytest.mark.parametrize("content", ["", "{}", '{"windows_done": null}'])
def test_a_damaged_note_of_what_is_done_is_refused(tmp_path, content):
    store = ensure_features(tmp_path, _toy(), Waves(8), "signal")
    (store.path / "progress.json").write_text(content)
    for again in (lambda: FeatureStore.open(store.path),
                  lambda: ensure_features(tmp_path, _toy(), Waves(8), "signal")):
        with pytest.raises(InputError, match="progress.json is damaged.* and compute it again"):
            again()


@pytest.mark.parametrize("indices, message", [
    ([], "at least one index"), ([3, 1, 3], "a window twice"), ([0, 7], "the windows are 0 to 6"),
])
def test_indices_that_do_not_fit(tmp_path, indices, message):
    with pytest.raises(InputError, match=message):
        ensure_features(tmp_path, _toy(), Waves(7), "signal", indices=indices)


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        ensure_features(tmp_path / "file", _toy(), Waves(7), "signal")


@pytest.mark.parametrize("count", [3, 21])
def test_devices_do_not_matter(tmp_path, count):
    _, new = tiny.encoders()
    windows = tiny.windows()
    one, two, eight = (
        ensure_features(
            tmp_path / str(number), new, windows, "ecg", indices=range(count), batch_size=8,
            devices=jax.devices()[:number],
        )
        for number in (1, 2, 8)
    )
    for other in (two, eight):
        assert other.num_windows == count
        for i in range(new.num_layers):
            assert relative_error(other.outputs(i), one.outputs(i)) < 1e-6
            assert relative_error(other.inputs(i), one.inputs(i)) < 1e-6


class Watched(Waves):
    """Waves that look at each read how many bytes JAX holds."""

    most_on_devices = 0

    def read(self, modality, indices):
        held = sum(array.nbytes for array in jax.live_arrays())
        self.most_on_devices = max(self.most_on_devices, held)
        return super().read(modality, indices)


def test_memory_does_not_grow_with_windows(tmp_path):
    """Host arrays (NumPy tells tracemalloc of its data) and device arrays, at their peak."""
    toy, peaks = _toy(), []
    ensure_features(tmp_path / "warm", toy, Waves(64), "signal")
    for count in (1024, 16384):
        windows, chosen = Watched(count), np.arange(count)
        gc.collect()
        tracemalloc.start()
        ensure_features(
            tmp_path / str(count), toy, windows, "signal", indices=chosen, batch_size=64,
            block_windows=128,
        )
        peaks.append((tracemalloc.get_traced_memory()[1], windows.most_on_devices))
        tracemalloc.stop()
    (host, devices), (host_16, devices_16) = peaks
    features = 4 * 3 * 4 * 16384
    indices = 8 * 3 * 16384  # which windows, sorted and checked
    print(f"\npeak bytes of 1,024 and 16,384 windows: {peaks}")
    assert host_16 - host < indices + 100_000 < features
    assert devices_16 < devices + 4 * 64 * 12 * 4


def test_streamed_cka_is_that_of_all_windows(tmp_path):
    windows = Waves(50)
    new = ensure_features(tmp_path, _toy(0), windows, "signal", batch_size=8, block_windows=16)
    old = ensure_features(tmp_path, _toy(1), windows, "signal", batch_size=8, block_windows=16)
    pair = np.arange(49, 3, -1)
    sums, seen = None, []
    for (window, x), (_, y) in zip(
        new.chunks("outputs", pair), old.chunks("inputs", pair), strict=True
    ):
        assert x.shape == (2, len(window), 3)
        sums = (sums or CkaSums.start(x, y)).add(x, y)
        seen += window.tolist()
    assert seen == pair.tolist()
    whole = linear_cka(new.stack("outputs", pair), old.stack("inputs", pair))
    np.testing.assert_allclose(sums.cka(), whole, atol=1e-5)


def test_shares_of_several_hosts_make_the_whole(tmp_path):
    windows = Waves(25)
    whole = ensure_features(tmp_path, _toy(), windows, "signal", batch_size=8)
    shares = [
        ensure_features(tmp_path, _toy(), windows, "signal", indices=range(k, 25, 2), batch_size=8)
        for k in range(2)
    ]
    assert sorted(np.concatenate([s.windows for s in shares])) == list(range(25))
    for share in shares:
        np.testing.assert_allclose(share.outputs(1), whole.outputs(1, share.windows), rtol=1e-5)


class Spoilt(Recorded):
    """One window is NaN until it is mended."""

    bad = True

    def read(self, modality, indices):
        signals = super().read(modality, indices)
        signals[indices == 45] = np.nan if self.bad else 1
        return signals


def test_what_was_computed_before_a_window_that_is_not_finite_is_kept(tmp_path):
    windows = Spoilt(64)
    settings = {"batch_size": 8, "block_windows": 24, "devices": jax.devices()[:1]}
    with pytest.raises(InputError, match="input of layer 0 of toy is NaN or .* for window 45"):
        ensure_features(tmp_path, _toy(), windows, "signal", **settings)
    (path,) = tmp_path.iterdir()
    assert windows_done(path) == 40
    with pytest.raises(InputError, match="unfinished: 40 of 64 windows"):
        FeatureStore.open(path)
    windows.bad = False
    windows.reads.clear()
    store = ensure_features(tmp_path, _toy(), windows, "signal", **settings)
    assert windows.reads == list(range(40, 64))
    unbroken = ensure_features(tmp_path / "new", _toy(), windows, "signal", **settings)
    assert _contents(store) == _contents(unbroken)


@pytest.mark.slow
def test_a_killed_capture_goes_on_after_the_last_block(tmp_path):
    """SIGKILL between reading, computing, writing and recording, wherever it falls."""
    rng = np.random.default_rng(0)
    count = 100 * BATCH
    root = tmp_path / "killed"

    def child() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.jaxbridge.features.capture_child", str(root), str(count)],
            cwd=pathlib.Path(__file__).parents[3], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )

    done = []
    for _ in range(3):
        with child() as process:
            # It may read some batches more than are waited for, so it is killed while at work.
            reads = int(rng.integers(16, 30))
            process.stdin.write("\n" * (reads + int(rng.integers(0, 4))))
            process.stdin.flush()
            first = int(process.stdout.readline())
            assert first == (done[-1] if done else 0)
            for _ in range(reads - 1):
                assert int(process.stdout.readline()) > first
            process.kill()
        (path,) = (p for p in root.iterdir() if not p.name.startswith("."))
        done.append(windows_done(path))
    assert 0 < done[0] < done[1] < done[2] < count
    with child() as process:
        rest = [int(line) for line in process.communicate()[0].split()]
    assert process.returncode == 0
    assert rest == list(range(done[-1], count, BATCH))

    (path,) = (p for p in root.iterdir() if not p.name.startswith("."))
    whole = ensure_features(
        tmp_path / "whole", _toy(), Waves(count), "signal", batch_size=BATCH, block_windows=16
    )
    assert _contents(FeatureStore.open(path)) == _contents(whole)
    record = json.loads((path / "metadata.json").read_text())
    assert record == json.loads((whole.path / "metadata.json").read_text())
