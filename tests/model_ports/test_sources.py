"""Where published weights live, for every encoder there is."""

import re

import pytest

import model_ports as mp


@pytest.mark.parametrize("name", mp.available())
def test_every_encoder_has_a_source(name):
    source = mp.sources(name)
    assert source.encoder == name
    assert re.fullmatch(r"MIT|Apache-2\.0|BSD-3-Clause|CC-BY-NC-4\.0", source.licence)
    for url in (source.paper, source.code, source.page, *(f.url for f in source.files)):
        assert url.startswith("https://")
    names = [file.name for file in source.files]
    assert names == sorted(set(names), key=names.index)
    for file in source.files:
        assert file.name == re.sub(r"[^\w.-]", "", file.name)  # a plain file name
        if file.checksum is not None:
            algorithm, _, digits = file.checksum.partition(":")
            length = {"md5": 32, "git-sha1": 40, "sha256": 64}[algorithm]
            assert re.fullmatch(rf"[0-9a-f]{{{length}}}", digits)
        if file.hub is not None:
            assert file.url == f"https://huggingface.co/{file.hub}/resolve/main/{file.name}"


def test_unknown_name():
    with pytest.raises(mp.InputError, match="no source is known for 'labrador'"):
        mp.sources("labrador")


def test_in_words():
    text = str(mp.sources("labram"))
    assert "labram-base.pth" in text
    assert "MIT" in text
    assert "leads=" in text
