"""The README.md that is written beside saved weights."""

from flax import nnx

import model_ports as mp


def test_card_tells_what_it_is(tmp_path):
    encoder = mp.create("labram", rngs=nnx.Rngs(0), depth=1, leads=("F3", "C3"))
    mp.save(encoder, tmp_path / "labram", origin="labram-base.pth")
    card = (tmp_path / "labram" / "README.md").read_text()
    values = sum(array.size for array in mp.parameters.parameters(encoder).values())
    for part in (
        "license: mit", "200 Hz, unit 0.1 mV, leads F3 C3", "labram-base.pth", f"{values:,}",
        mp.weights_hash(encoder), mp.sources("labram").page, '"depth": 1', "| layers | 1 |",
    ):
        assert part in card
    assert card.startswith("---\n")
    mp.load(tmp_path / "labram")


def test_card_does_not_make_up_an_origin(tmp_path):
    mp.save(mp.create("labram", rngs=nnx.Rngs(0), depth=1), tmp_path / "labram")
    assert "| origin of the weights | not stated |" in (tmp_path / "labram/README.md").read_text()
