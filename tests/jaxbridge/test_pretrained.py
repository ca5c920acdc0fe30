"""A bridge saved alone comes back with its encoders, and with no others."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge import (
    BridgedModel,
    BridgeSettings,
    TaskHead,
    from_pretrained,
    save_pretrained,
)
from jaxbridge.pretrained import pretrained_config
from jaxbridge.training.bridging import new_bridge, trained_labels
from model_ports.errors import InputError
from model_ports.representations import drawn_signals
from tests.jaxbridge import tiny
from tests.jaxbridge.toy import Toy

_ABOUT = {"class_names": ("slow", "fast"), "signal_shapes": ((600,), (2, 2, 200))}


def bridged(position=(1, 1), pool="mean", **settings) -> BridgedModel:
    """A bridge that says something: B is not zero."""
    old, new = tiny.encoders()
    settings = BridgeSettings(rank=4, num_prototypes=6, pool=pool, **settings)
    bridge = new_bridge(new, old, position, ((1, 600), (1, 2, 2, 200)), settings, seed=0)
    bridge.low_rank_b.set_value(0.1 * jax.random.normal(jax.random.key(1), bridge.low_rank_b.shape))
    head = TaskHead(200, 2, hidden=5, rngs=nnx.Rngs(2))
    return BridgedModel(new, old, bridge, head, position, pool=pool)


@pytest.fixture
def saved(tmp_path):
    model = bridged()
    save_pretrained(
        model, tmp_path / "bridge", **_ABOUT, modalities=("ecg", "eeg"),
        preprocessing={"window_s": 6}, metrics=[{"split": "test", "balanced_accuracy": 0.75}],
    )
    return model, tmp_path / "bridge"


def _logits(model: BridgedModel) -> np.ndarray:
    return np.asarray(_compiled(model, tiny.windows().read("ecg", np.arange(3))))


@jax.jit
def _compiled(model: BridgedModel, signal: jax.Array) -> jax.Array:
    return model(signal)


@pytest.mark.parametrize("how", [
    {"position": (0, 3), "pool": "max"}, {"position": (0, 2), "layout": "reinterpret"},
])
def test_it_comes_back_to_the_bit(tmp_path, how):
    model = bridged(**how)
    save_pretrained(model, tmp_path / "bridge", **_ABOUT)
    again = from_pretrained(tmp_path / "bridge", old=model.old, new=model.new)
    assert _logits(again).tobytes() == _logits(model).tobytes()
    assert np.abs(np.diff(_logits(model), axis=0)).max() > 0


def test_encoders_from_folders(saved, tmp_path):
    model, path = saved
    mp.save(model.old, tmp_path / "old")
    mp.save(model.new, tmp_path / "new")
    again = from_pretrained(path, old=tmp_path / "old", new=tmp_path / "new")
    np.testing.assert_array_equal(_logits(again), _logits(model))


def test_an_encoder_of_pictures_draws_its_signals_as_in_the_training(tmp_path):
    """Its folder holds the encoder of pictures alone."""
    _, new = tiny.encoders()
    encoder = tiny.pictures(3)
    drawn = drawn_signals(encoder, "spectrogram_angle", frame_samples=64)
    bridge = new_bridge(new, drawn, (1, 16), ((1, 600), (1, 300)), BridgeSettings(rank=2), seed=0)
    context = jax.tree.map(
        lambda c: jnp.zeros(c.shape), jax.eval_shape(drawn.context, jnp.zeros((1, 300)))
    )
    head = TaskHead(8, 2, rngs=nnx.Rngs(2), context=context)
    model = BridgedModel(new, drawn, bridge, head, (1, 16))
    save_pretrained(
        model, tmp_path / "bridge", class_names=("slow", "fast"), signal_shapes=((600,), (300,))
    )
    mp.save(drawn, tmp_path / "old")
    assert mp.weights_hash(mp.load(tmp_path / "old")) == mp.weights_hash(encoder)
    faster = mp.load(tmp_path / "old", dtype="bfloat16")
    faster = from_pretrained(tmp_path / "bridge", old=faster, new=new)
    assert faster.old.config.dtype == faster.old.config.encoder.dtype == "bfloat16"
    again = from_pretrained(tmp_path / "bridge", old=tmp_path / "old", new=new)
    assert again.old.config == drawn.config
    np.testing.assert_array_equal(_logits(again), _logits(model))


def test_the_folder_is_small_and_says_what_it_is(saved):
    model, path = saved
    assert sorted(p.name for p in path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    # bridge and head alone, in float32, and a header
    values = 4 * 16 + 4 * 5 * 6 + 6 * 200 + 200 * 5 + 5 + 5 * 2 + 2
    assert (path / "model.safetensors").stat().st_size < 4 * values + 1500
    config = pretrained_config(path)
    assert config["old"]["weights_hash"] == mp.weights_hash(model.old)
    assert config["new"]["config"]["position_kernel"] == 8
    assert config["new"]["modality"] == "ecg" and config["position"] == [1, 1]
    assert config["preprocessing"] == {"window_s": 6} and config["class_names"] == ["slow", "fast"]
    assert config["versions"]["jax"] == jax.__version__
    card = (path / "README.md").read_text()
    for told in (config["new"]["weights_hash"], "1,384 parameters", "0.750", '"window_s": 6'):
        assert told in card


@pytest.mark.parametrize(("position", "place"), [
    ((1, 2), "the input of old layer 2"), ((0, 3), "the head"),
])
def test_the_card_tells_where_the_bridge_writes(tmp_path, position, place):
    """The old encoder has three layers: there is no layer 3."""
    save_pretrained(bridged(position), tmp_path / "bridge", **_ABOUT)
    card = (tmp_path / "bridge" / "README.md").read_text()
    assert f"| position | output of new layer {position[0]} into {place} |" in card


def test_the_heads_context_comes_back(tmp_path):
    old, (_, new) = Toy(rngs=nnx.Rngs(0)), tiny.encoders()
    bridge = new_bridge(
        new, old, (1, 1), ((1, 600), (1, 4, 3)), BridgeSettings(rank=2, num_prototypes=3), seed=0
    )
    head = TaskHead(3, 2, rngs=nnx.Rngs(0), context={"gain": jnp.array([[1.0, 2.0, 3.0]])})
    model = BridgedModel(new, old, bridge, head, (1, 1))
    save_pretrained(
        model, tmp_path / "b", class_names=("a", "b"), signal_shapes=((600,), (4, 3))
    )
    again = from_pretrained(tmp_path / "b", old=old, new=new)
    assert again.head.context["gain"][...].tolist() == [[1, 2, 3]]
    np.testing.assert_array_equal(_logits(again), _logits(model))


def test_other_weights_are_refused_by_both_hashes(saved):
    model, path = saved
    other_old, other_new = tiny.encoders(seed=5)
    with pytest.raises(InputError, match=(
        f"old encoder labram: .*{mp.weights_hash(model.old)}.*{mp.weights_hash(other_old)}"
    )):
        from_pretrained(path, old=other_old, new=model.new)
    with pytest.raises(InputError, match=mp.weights_hash(other_new)):
        from_pretrained(path, old=model.old, new=other_new)


def test_another_configuration_is_refused_but_for_the_compute_type(saved, tmp_path):
    model, path = saved
    mp.save(model.old, tmp_path / "old")
    with pytest.raises(InputError, match=r"another old encoder:\n  leads: \['O1', 'O2'\] there"):
        from_pretrained(path, old=mp.load(tmp_path / "old", leads=("O2", "O1")), new=model.new)
    faster = mp.load(tmp_path / "old", dtype="bfloat16")
    logits = _logits(from_pretrained(path, old=faster, new=model.new))
    np.testing.assert_allclose(logits, _logits(model), atol=0.05)


def test_damaged_folders_are_refused(saved, tmp_path):
    model, path = saved

    def refused(message: str, damage) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(path, folder)
        damage(folder)
        with pytest.raises(InputError, match=message):
            from_pretrained(folder, old=model.old, new=model.new)
        shutil.rmtree(folder)

    weights = (path / "model.safetensors").read_bytes()
    config = json.loads((path / "config.json").read_text())

    def change(key, value):
        return lambda f: (f / "config.json").write_text(json.dumps({**config, key: value}))

    refused("cannot be read", lambda f: (f / "model.safetensors").write_bytes(weights[:-40]))
    refused("cannot be read", lambda f: (f / "model.safetensors").unlink())
    refused("not a saved bridge", lambda f: (f / "config.json").unlink())
    refused("not a saved bridge", lambda f: (f / "config.json").write_text('{"format": "jaxbr'))
    refused("config.json is damaged", change("head", {"width": 3}))
    refused("config.json is damaged", change("old", {}))
    refused(
        r"does not fit.*\n  bridge.low_rank_a: file \(16, 4\), configuration \(16, 5\)",
        change("bridge", {**config["bridge"], "rank": 5}),
    )


def test_nothing_of_others_is_overwritten(saved, tmp_path):
    model, path = saved
    save_pretrained(model, path, **_ABOUT)  # our own folder is replaced
    assert pretrained_config(path)["preprocessing"] == {}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="is no saved bridge"):
        save_pretrained(model, tmp_path / "mine", **_ABOUT)
    (path / "thesis.txt").write_text("")
    with pytest.raises(InputError, match=r"also holds thesis\.txt, which saving would delete"):
        save_pretrained(model, path, **_ABOUT)
    (path / "thesis.txt").unlink()
    with pytest.raises(InputError, match="3 class names for 2 classes"):
        save_pretrained(model, tmp_path / "b", **{**_ABOUT, "class_names": "abc"})


def test_summary_counts_what_moves():
    model = bridged()
    rows = {
        line.split()[0]: [int(n.replace(",", "")) for n in line.split()[1:]]
        for line in model.summary().splitlines()[1:]
    }
    total = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert rows["total"][0] == 1384 and sum(rows["total"]) == total
    assert rows["bridge"] == [1384, 0] and rows["head.layers"][0] == 0
    labels = trained_labels(model, BridgeSettings(trainable="bridge_and_old_norms"))
    more = model.summary(labels).splitlines()[-1].split()
    # norms of old layers 1 and 2 and of the end move; layer 0 lies before the bridge
    assert int(more[1].replace(",", "")) > 1384
