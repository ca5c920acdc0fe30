"""Reading weight files: safetensors, hub folders, our own; and everything that is refused."""

import json
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import model_ports as mp
from tests.model_ports.published import TINY, state_dict

HUBERT = TINY["hubert_ecg_small"]
HUB_CONFIG = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16] * 5, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
    "do_stable_layer_norm": False, "model_type": "hubert_ecg",
}


@pytest.fixture(scope="module")
def entries():
    return state_dict("hubert_ecg_small", **HUBERT)


@pytest.fixture(scope="module")
def expected(entries):
    return mp.weights_hash(mp.from_state_dict("hubert_ecg_small", entries, **HUBERT))


def test_safetensors(tmp_path, entries, expected):
    safetensors.numpy.save_file(entries, tmp_path / "model.safetensors")
    encoder, coverage = mp.read_checkpoint(
        "hubert_ecg_small", tmp_path / "model.safetensors", **HUBERT
    )
    assert mp.weights_hash(encoder) == expected
    assert set(coverage.read) == set(entries)
    assert coverage.ignored == coverage.initial == ()
    total = sum(array.size for array in mp.parameters.parameters(encoder).values())
    assert coverage.matched == coverage.total == total
    assert f"{total:,} of {total:,} parameters matched" in str(coverage)


def test_hub_folder_tells_its_configuration(tmp_path, entries, expected):
    heads = {"final_proj.0.weight": np.ones((3, 32), np.float32)}
    safetensors.numpy.save_file(entries | heads, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG))
    encoder, coverage = mp.read_checkpoint("hubert_ecg_small", tmp_path)
    assert mp.weights_hash(encoder) == expected
    assert (encoder.config.num_heads, encoder.config.conv_channels) == (4, (16,) * 5)
    assert coverage.ignored == ("final_proj.0.weight",)
    # what the caller says wins over what the file says
    assert mp.from_checkpoint("hubert_ecg_small", tmp_path, num_heads=2).config.num_heads == 2


def test_sharded_hub_folder(tmp_path, entries, expected):
    names = sorted(entries)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, part in shards.items():
        safetensors.numpy.save_file({n: entries[n] for n in part}, tmp_path / shard)
    index = {"weight_map": {n: shard for shard, part in shards.items() for n in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert mp.weights_hash(
        mp.from_checkpoint("hubert_ecg_small", tmp_path, **HUBERT)
    ) == expected


def test_index_may_not_leave_its_folder(tmp_path):
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(mp.InputError, match="outside its folder"):
        mp.from_checkpoint("hubert_ecg_small", tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_exactly(tmp_path, entries, dtype):
    halves = {name: array.astype(dtype) for name, array in entries.items()}
    safetensors.numpy.save_file(halves, tmp_path / "half.safetensors")
    encoder = mp.from_checkpoint("hubert_ecg_small", tmp_path / "half.safetensors", **HUBERT)
    wide = {name: array.astype(np.float32) for name, array in halves.items()}
    assert mp.weights_hash(encoder) == mp.weights_hash(
        mp.from_state_dict("hubert_ecg_small", wide, **HUBERT)
    )


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "hubert_ecg.",
     "module.hubert_ecg."],
)
def test_prefixes_are_cut(tmp_path, entries, expected, prefix):
    path = tmp_path / "model.safetensors"
    prefixed = {prefix + name: array for name, array in entries.items()}
    safetensors.numpy.save_file(prefixed, path)
    assert mp.weights_hash(mp.from_checkpoint("hubert_ecg_small", path, **HUBERT)) == expected


def test_classifier_beside_the_prefix_is_ignored_and_strangers_are_not(tmp_path, entries):
    path = tmp_path / "model.safetensors"
    prefixed = {f"hubert_ecg.{name}": array for name, array in entries.items()}
    head = {"classifier.weight": np.ones((2, 32), np.float32)}
    safetensors.numpy.save_file(prefixed | head, path)
    _, coverage = mp.read_checkpoint("hubert_ecg_small", path, **HUBERT)
    assert coverage.ignored == ("classifier.weight",)
    stranger = {"adapter.weight": np.ones(2, np.float32)}
    safetensors.numpy.save_file(prefixed | head | stranger, path)
    with pytest.raises(mp.InputError, match=r"'hubert_ecg\.', and 1 others .* adapter\.weight"):
        mp.from_checkpoint("hubert_ecg_small", path, **HUBERT)


def test_folder_saved_by_us(tmp_path, entries, expected):
    encoder = mp.from_state_dict("hubert_ecg_small", entries, **HUBERT)
    mp.save(encoder, tmp_path / "ours")
    for path in (tmp_path / "ours", tmp_path / "ours" / "model.safetensors"):
        again, coverage = mp.read_checkpoint("hubert_ecg_small", path)
        assert again.config == encoder.config
        assert mp.weights_hash(again) == expected
        assert coverage.matched == coverage.total
    with pytest.raises(mp.InputError, match="is hubert_ecg_small, not ecg_fm"):
        mp.from_checkpoint("ecg_fm", tmp_path / "ours")


def test_another_file_in_such_a_folder_is_not_taken_for_ours(tmp_path, entries, expected):
    mp.save(mp.create("hubert_ecg_small", rngs=nnx.Rngs(0), **HUBERT), tmp_path / "ours")
    path = tmp_path / "ours" / "published.safetensors"
    safetensors.numpy.save_file(entries, path)
    assert mp.weights_hash(mp.from_checkpoint("hubert_ecg_small", path, **HUBERT)) == expected


def test_partial_match_is_refused_with_every_name(tmp_path, entries):
    path = tmp_path / "model.safetensors"
    gone = sorted(entries)[:3]
    safetensors.numpy.save_file({n: a for n, a in entries.items() if n not in gone}, path)
    with pytest.raises(mp.InputError) as error:
        mp.from_checkpoint("hubert_ecg_small", path, **HUBERT)
    assert all(f"missing: {name}" in str(error.value) for name in gone)
    assert str(path) in str(error.value)


def test_no_match_is_refused_in_short(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({f"entry{i}": np.ones(2) for i in range(50)}, path)
    with pytest.raises(mp.InputError, match=r"is not labram: 0% .* entry0, .* 44 more"):
        mp.from_checkpoint("labram", path)


def test_file_of_another_model_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(state_dict("labram"), path)
    with pytest.raises(mp.InputError, match=r"is not ecg_fm: .* looks like labram"):
        mp.from_checkpoint("ecg_fm", path)


@pytest.mark.parametrize(
    ("name", "prefix"), [("labram", "student."), ("normwear", "backbone."), ("ecg_fm", "")]
)
def test_file_of_another_model_is_named_from_under_its_prefix(tmp_path, name, prefix):
    path = tmp_path / "model.safetensors"
    entries = state_dict(name, **TINY[name] | {"depth": 12})
    safetensors.numpy.save_file({prefix + n: array for n, array in entries.items()}, path)
    with pytest.raises(mp.InputError, match=f"is not papagei: .* looks like {name}"):
        mp.from_checkpoint("papagei", path)


def test_unported_configuration_is_refused(tmp_path, entries):
    safetensors.numpy.save_file(entries, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG | {"do_stable_layer_norm": True}))
    with pytest.raises(mp.InputError, match="do_stable_layer_norm=True"):
        mp.from_checkpoint("hubert_ecg_small", tmp_path)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 0.999))
def test_truncated_safetensors_are_refused(tmp_path, share):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.ones(100, np.float32)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(mp.InputError, match=r"empty|no whole safetensors file"):
        mp.from_checkpoint("labram", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_downloads_leave_in_place_is_told(tmp_path, content, message, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(mp.InputError, match=message):
        mp.from_checkpoint("labram", path)


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(mp.InputError, match="there is no "):
        mp.from_checkpoint("labram", tmp_path / "absent.pth")
    with pytest.raises(mp.InputError, match="holds no weight file"):
        mp.from_checkpoint("labram", tmp_path)
    for name in ("one.pth", "two.pth"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(mp.InputError, match=r"several weight files \(one.pth, two.pth\)"):
        mp.from_checkpoint("labram", tmp_path)
    with pytest.raises(mp.InputError, match="there is no encoder 'labrador'"):
        mp.from_checkpoint("labrador", tmp_path)


def test_without_pytorch_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"PK anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(mp.InputError, match=r"needs PyTorch.*jaxbridge\[convert\]"):
        mp.from_checkpoint("labram", tmp_path / "weights.pth")


def test_coverage_table_names_what_was_left_out():
    coverage = mp.Coverage(("a", "b"), ("head.weight",), ("fc_norm.bias",), 1200, 1400)
    table = coverage.table()
    assert "head.weight" in table
    assert "fc_norm.bias" in table
    assert "1,200  of 1,400" in table


def test_random_encoder_saved_and_read_by_name(tmp_path):
    encoder = mp.create("labram", rngs=nnx.Rngs(0), depth=1)
    mp.save(encoder, tmp_path / "ours")
    assert mp.weights_hash(mp.from_checkpoint("labram", tmp_path / "ours")) == mp.weights_hash(
        encoder
    )
