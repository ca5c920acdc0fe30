"""Saved encoders come back bit by bit, damaged ones do not."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model_ports as mp


@pytest.fixture
def encoder() -> mp.Encoder:
    return mp.create("labram", rngs=nnx.Rngs(0), depth=1, leads=("O1", "O2"))


def test_round_trip(encoder, tmp_path):
    mp.save(encoder, tmp_path / "deep" / "labram")
    loaded = mp.load(tmp_path / "deep" / "labram")
    assert loaded.config == encoder.config
    assert mp.weights_hash(loaded) == mp.weights_hash(encoder)
    x = np.random.default_rng(0).standard_normal((1, 2, 2, 200)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), encoder(x))
    assert mp.load(tmp_path / "deep" / "labram", dtype="bfloat16")(x).dtype == jnp.bfloat16


def test_saving_again_replaces_and_foreign_folders_are_left_alone(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    other = mp.create("labram", rngs=nnx.Rngs(1), depth=2)
    mp.save(other, tmp_path / "a")
    assert mp.weights_hash(mp.load(tmp_path / "a")) == mp.weights_hash(other)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(mp.InputError, match="is no saved encoder"):
        mp.save(encoder, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "mine"]


def test_what_save_did_not_write_is_not_deleted(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("years of work")
    with pytest.raises(mp.InputError, match="also holds notes.txt"):
        mp.save(encoder, tmp_path / "a")
    assert (tmp_path / "a" / "notes.txt").read_text() == "years of work"


def test_the_current_folder_stays(encoder, tmp_path, monkeypatch):
    mp.save(encoder, tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(mp.InputError, match="is the current folder"):
        mp.save(mp.create("labram", rngs=nnx.Rngs(1), depth=1), ".")
    assert mp.weights_hash(mp.load(tmp_path / "a")) == mp.weights_hash(encoder)


def test_a_link_stays_a_link(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    other = mp.create("labram", rngs=nnx.Rngs(1), depth=1)
    mp.save(other, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert mp.weights_hash(mp.load(tmp_path / "a")) == mp.weights_hash(other)


@pytest.mark.parametrize("call", ["safetensors.numpy.save_file", "shutil.rmtree"])
def test_interrupted_saves_leave_a_whole_encoder(encoder, tmp_path, monkeypatch, call):
    """While writing the new one, or while deleting the old one."""
    mp.save(encoder, tmp_path / "a")
    other = mp.create("labram", rngs=nnx.Rngs(1), depth=1)

    def interrupted(path, *args, **kwargs):
        for file in pathlib.Path(path).rglob("*.safetensors") if call == "shutil.rmtree" else ():
            file.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            mp.save(other, tmp_path / "a")
    assert mp.weights_hash(mp.load(tmp_path / "a")) in {
        mp.weights_hash(encoder), mp.weights_hash(other)
    }


def test_truncated_weights_are_refused(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(mp.InputError, match="cannot be read"):
        mp.load(tmp_path / "a")


def test_changed_weights_are_refused(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    weights = tmp_path / "a" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(mp.InputError, match="were changed after saving"):
        mp.load(tmp_path / "a")


def test_configuration_that_does_not_fit_is_refused(encoder, tmp_path):
    mp.save(encoder, tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    stored = json.loads(path.read_text())
    stored["config"]["depth"] = 2
    path.write_text(json.dumps(stored))
    with pytest.raises(mp.InputError, match=r"blocks.1.*file nothing"):
        mp.load(tmp_path / "a")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(mp.InputError, match=r"is not a saved encoder.*from_checkpoint"):
        mp.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(mp.InputError):
        mp.save(mp.create("labram", rngs=nnx.Rngs(0), depth=1), tmp_path / "file" / "below")
