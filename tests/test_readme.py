"""The Python examples of the README run as they stand."""

import pathlib
import re
import warnings

import jax
import numpy as np
import pytest
from flax import nnx

import model_ports as mp
from jaxbridge.data.preparation import prepare
from jaxbridge.data.simulation import Simulated

_README = pathlib.Path(__file__).parents[1] / "README.md"


def _examples() -> dict[str, list[str]]:
    """Section heading -> its Python blocks."""
    sections = re.split(r"^#+ (.*)$", _README.read_text(), flags=re.MULTILINE)[1:]
    found = {
        heading: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: blocks for heading, blocks in found.items() if blocks}


def test_no_example_is_left_out():
    assert {heading: len(blocks) for heading, blocks in _examples().items()} == {
        "jaxbridge": 1, "The encoders alone": 2, "Signals as pictures": 1, "In your own JAX work": 6,
        "Use the scanner on your own models": 2,
    }


def test_pictures_example():
    names: dict = {}
    exec(_examples()["Signals as pictures"][0], names)
    pictures = np.asarray(names["pictures"])
    assert pictures.shape == (4, 3, 224, 224) and 0 <= pictures.min() < pictures.max() <= 1


@pytest.mark.slow
def test_transfer_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulated = Simulated(
        duration_s=20, window_s=2, sizes={"train": 2, "val": 1, "pair": 2, "test": 1}
    )
    prepare(tmp_path / "runs/quickstart/seed_0/windows", simulated, simulated.split)
    names: dict = {}
    exec(_examples()["jaxbridge"][0], names)
    assert names["logits"].shape == (20, 2)
    assert np.isfinite(names["logits"]).all()


def test_encoder_example(capsys):
    names: dict = {}
    for block in _examples()["The encoders alone"]:
        exec(block, names)
    assert capsys.readouterr().out == "(2, 200) (2, 200)\n(2, 3, 4, 200) (2, 1000)\n"
    assert names["tokens"].shape == (2, 25, 200)
    assert names["hubert"].activations(names["ecg"]).final.shape == (2, 512)


@pytest.fixture(scope="module")
def own_work() -> dict:
    """The names that the blocks of that section leave behind, one after the other."""
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", mp.CollapseWarning)
        for block in _examples()["In your own JAX work"]:
            exec(block, names)
    return names


def test_embeddings_and_layer_k(own_work):
    found = jax.jit(lambda e, x: e.activations(x))(own_work["encoder"], own_work["ppg"])
    np.testing.assert_allclose(own_work["embeddings"], found.final, rtol=1e-4, atol=1e-5)
    assert own_work["embeddings"].shape == (4, 512)
    means = own_work["tokens"].mean(axis=1)
    np.testing.assert_allclose(means, found.outputs[own_work["k"]], rtol=1e-4, atol=1e-5)


def test_only_the_head_was_trained(own_work):
    assert own_work["losses"][-1] < own_work["losses"][0]
    # frozen weights are the very bits they were
    fresh = mp.create("papagei", rngs=nnx.Rngs(0))
    assert mp.weights_hash(own_work["model"].encoder) == mp.weights_hash(fresh)
    kept = jax.tree.leaves(nnx.state(own_work["optimizer"], nnx.optimizer.OptVariable))
    assert sum(leaf.size for leaf in kept) == 2 * (512 * 2 + 2)  # Adam's two moments of the head


def test_linen_has_the_same_weights_and_only_its_head_a_gradient(own_work):
    model, variables, ppg = (own_work[key] for key in ("LinenClassifier", "variables", "ppg"))
    head = variables["params"]["head"]
    want = own_work["embeddings"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(own_work["logits"], want, rtol=1e-3, atol=1e-4)

    def total(params):
        return model().apply({**variables, "params": params}, ppg).sum()

    gradient = jax.jit(jax.grad(total))(variables["params"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["head"]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["encoder"]))
    # and the variables, not the module they came from, decide
    zeros = jax.tree.map(np.zeros_like, variables)
    assert not np.any(jax.jit(model().apply)(zeros, ppg))


def test_shapes_without_memory(own_work):
    assert own_work["shapes"].final.shape == (64, 960)
    assert all(
        isinstance(leaf, jax.ShapeDtypeStruct)
        for leaf in jax.tree.leaves((own_work["large"], own_work["shapes"]))
    )


def test_spread_weights_give_the_same(own_work):
    np.testing.assert_allclose(own_work["same"], own_work["embeddings"], rtol=1e-4, atol=1e-5)
    assert len(own_work["same"].sharding.device_set) == 8
    kernel = own_work["spread"].embedding.kernel[...]
    assert kernel.addressable_shards[0].data.shape == (512, 128)


def test_scanner_example(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in _examples()["Use the scanner on your own models"]:
        exec(block, names)
    found = names["found"].selection
    assert found.cka.shape == (3, 3)
    said = capsys.readouterr().out
    assert f"output of new layer {found.m}" in said or f"{found.m}" in said
    assert "(18, 64, 512)" in said
