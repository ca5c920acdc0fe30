"""The cache of published weights, its downloads and checksums; no network."""

import hashlib
import subprocess
import sys
import types

import pytest
import safetensors.numpy

import model_ports as mp
from model_ports import pretrained
from tests.model_ports.published import TINY, state_dict

# `model_ports.sources` is the function
_SOURCES = sys.modules["model_ports.sources"]._SOURCES
NAME = "hubert_ecg_small"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXBRIDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / NAME


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publishes a tiny model at a file: link, with the checksum asked for."""

    def publish(checksum=None, **fields):
        entries = state_dict(NAME, **TINY[NAME])
        path = tmp_path / "server.safetensors"
        safetensors.numpy.save_file(entries, path)
        file = mp.PublishedFile("tiny.safetensors", path.as_uri(), checksum, **fields)
        source = mp.Source(NAME, "ECG", "paper", "code", "https://page", "MIT", (file,))
        monkeypatch.setitem(_SOURCES, NAME, source)
        return path, mp.weights_hash(mp.from_state_dict(NAME, entries, **TINY[NAME]))

    return publish


def test_downloaded_once_and_read(cache, published):
    server, expected = published()
    for _ in range(2):
        assert mp.weights_hash(mp.from_pretrained(NAME, **TINY[NAME])) == expected
        server.unlink(missing_ok=True)  # the second time the cache must do
    digest = hashlib.sha256((cache / "tiny.safetensors").read_bytes()).hexdigest()
    assert (cache / "tiny.safetensors.sha256").read_text().split()[0] == digest


def test_offline_says_which_file_to_put_where(cache, published):
    server, expected = published()
    kept = server.read_bytes()
    server.unlink()
    with pytest.raises(mp.InputError) as error:
        mp.from_pretrained(NAME, **TINY[NAME])
    for part in (server.as_uri(), str(cache / "tiny.safetensors"), "MIT", "https://page"):
        assert part in str(error.value)
    assert list(cache.iterdir()) == []  # nothing half-written
    (cache / "tiny.safetensors").write_bytes(kept)
    assert mp.weights_hash(mp.from_pretrained(NAME, **TINY[NAME])) == expected


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "git-sha1"])
def test_published_checksum(cache, published, algorithm, tmp_path):
    server, _ = published()
    if algorithm == "git-sha1":
        digits = subprocess.run(
            ["git", "hash-object", "--stdin"], input=server.read_bytes(), cwd=tmp_path,
            capture_output=True, check=True,
        ).stdout.decode().strip()
    else:
        digits = hashlib.new(algorithm, server.read_bytes()).hexdigest()
    published(f"{algorithm}:{digits}")
    assert pretrained.pretrained_file(NAME) == cache / "tiny.safetensors"
    published(f"{algorithm}:{'0' * len(digits)}")
    with pytest.raises(mp.InputError, match=rf"checksum is {digits}, published is 000"):
        pretrained.pretrained_file(NAME)


def test_file_that_changed_in_the_cache(cache, published):
    published()
    path = pretrained.pretrained_file(NAME)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(mp.InputError, match=r"recorded in tiny\.safetensors\.sha256"):
        mp.from_pretrained(NAME)


def test_a_damaged_first_copy_can_be_replaced(cache, published):
    server, expected = published()
    cache.mkdir(parents=True)
    path = cache / "tiny.safetensors"
    path.write_bytes(server.read_bytes()[:-100])
    with pytest.raises(mp.InputError, match="copy it again"):
        mp.from_pretrained(NAME, **TINY[NAME])
    path.write_bytes(server.read_bytes())
    with pytest.raises(mp.InputError, match=r"on purpose, delete tiny\.safetensors\.sha256"):
        mp.from_pretrained(NAME, **TINY[NAME])
    (cache / "tiny.safetensors.sha256").unlink()
    assert mp.weights_hash(mp.from_pretrained(NAME, **TINY[NAME])) == expected


def test_a_cache_that_cannot_be_written_is_read(cache, published, monkeypatch):
    server, expected = published()
    cache.mkdir(parents=True)
    (cache / "tiny.safetensors").write_bytes(server.read_bytes())

    def read_only(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.write_text", read_only)
    assert mp.weights_hash(mp.from_pretrained(NAME, **TINY[NAME])) == expected


def test_hub_files_come_with_their_companions(cache, published, tmp_path, monkeypatch):
    server, expected = published(hub="someone/model", companions=("config.json",))
    config = tmp_path / "config.json"
    config.write_text('{"num_attention_heads": 2}')
    asked = []

    def download(repo_id, filename):
        asked.append((repo_id, filename))
        return str(config if filename == "config.json" else server)

    hub = types.SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    without = {k: v for k, v in TINY[NAME].items() if k != "num_heads"}
    encoder = mp.from_pretrained(NAME, **without)
    assert encoder.config.num_heads == 2
    assert mp.weights_hash(encoder) == expected
    assert asked == [("someone/model", "config.json"), ("someone/model", "tiny.safetensors")]


def test_hub_out_of_reach(cache, published, monkeypatch):
    def download(repo_id, filename):
        raise ConnectionError("no route to host")

    published(hub="someone/model", companions=("config.json",))
    hub = types.SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(mp.InputError, match="no route to host.* and config.json beside it"):
        mp.from_pretrained(NAME)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(mp.InputError, match=r"pip install 'jaxbridge\[convert\]'"):
        mp.from_pretrained(NAME)


def test_unknown_file():
    with pytest.raises(mp.InputError, match=r"no published file 'x'; .*labram-base\.pth"):
        mp.from_pretrained("labram", "x")
