"""Weights spread over a mesh: the matrices are split, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import model_ports as mp
from model_ports.parameters import parameter_shapes
from tests import recipe
from tests.model_ports.published import TINY

_TINY_BIOMOE = {
    "image_size": 64, "stem_features": 8, "spectral_features": (8, 12),
    "attention_features": (20, 16), "attention_heads": (2, 4), "mlp_ratios": (2, 2, 2, 2),
    "vit_features": (24, 36, 16), "key_features": 4, "window": 2,
}
_CASES = {
    "labram": (TINY["labram"], (2, 4, 2, 200)),
    "hubert_ecg_small": (TINY["hubert_ecg_small"], (2, 700)),
    "normwear": (TINY["normwear"], (2, 2, 60)),
    "papagei": (TINY["papagei"], (2, 1, 300)),
    "tiny_biomoe": (_TINY_BIOMOE, (2, 3, 64, 64)),
}


def _mesh(batch: int, model: int) -> Mesh:
    return jax.make_mesh((batch, model), ("batch", "model"), axis_types=(AxisType.Auto,) * 2)


@jax.jit
def _activations(encoder: mp.Encoder, signal: jax.Array) -> mp.Activations:
    return encoder.activations(signal)


def _bytes_on(device: jax.Device, encoder: mp.Encoder) -> int:
    return sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(encoder)
        for shard in leaf.addressable_shards
        if shard.device == device
    )


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name == "tiny_biomoe" else name
    for name in _CASES
])
def test_outputs_are_those_of_one_device(name):
    config, shape = _CASES[name]
    encoder = mp.create(name, rngs=nnx.Rngs(0), **config)
    signal = recipe.signal(0, shape)
    mesh = _mesh(2, 4)
    spread = mp.shard(encoder, mesh)
    placed = jax.device_put(signal, NamedSharding(mesh, PartitionSpec("batch")))
    want, found = _activations(encoder, signal), _activations(spread, placed)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert len(ours.sharding.device_set) == 8
        error = np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(theirs).max()
        assert error < 1e-5
    assert mp.weights_hash(spread) == mp.weights_hash(encoder)


def test_matrices_are_split_and_memory_falls():
    encoder = mp.create("labram", rngs=nnx.Rngs(0), leads=("F3", "C3"), depth=1)
    mesh = _mesh(1, 8)
    spread = mp.shard(encoder, mesh)
    block = spread.blocks[0]
    for array, shape in (
        (block.attn.qkv.kernel, (200, 75)),  # by columns
        (block.attn.proj.kernel, (25, 200)),  # by rows: ends its block
        (block.mlp.fc1.kernel, (200, 100)),
        (block.mlp.fc2.kernel, (100, 200)),
        (spread.patch_embed.conv2.kernel, (3, 8, 1)),
        (block.mlp.fc1.bias, (800,)),
        (block.norm1.scale, (200,)),
        (spread.pos_embed, (1, 129, 200)),
    ):
        assert {shard.data.shape for shard in array[...].addressable_shards} == {shape}
    specs = mp.partition_specs(encoder, mesh)
    sizes = {path: 4 * int(np.prod(s)) for path, s in parameter_shapes(encoder).items()}
    split = sum(size for path, size in sizes.items() if "model" in specs[path])
    assert split > 0.9 * sum(sizes.values())
    for device in mesh.devices.flat:
        assert _bytes_on(device, spread) == sum(sizes.values()) - split + split // 8


def test_published_sizes_fall_to_a_quarter_on_four_devices():
    """Tiny-BioMoE's image normalisation (224 x 224 weights, no matrix) is a fifth of it."""
    mesh = _mesh(2, 4)
    for name in mp.available():
        encoder = mp.abstract(name)
        specs = mp.partition_specs(encoder, mesh)
        shapes = parameter_shapes(encoder)
        assert specs.keys() == shapes.keys()
        total = sum(np.prod(shape) for shape in shapes.values())
        each = sum(
            np.prod(NamedSharding(mesh, specs[path]).shard_shape(shape))
            for path, shape in shapes.items()
        )
        assert each < (0.40 if name == "tiny_biomoe" else 0.27) * total, name


def test_sizes_that_do_not_divide_fall_back():
    """attn.proj splits by rows, then columns, then not at all; the MLP's first by columns."""
    mesh = _mesh(1, 8)
    specs = mp.partition_specs(
        mp.abstract("labram", depth=1, features=104, stem_channels=4, patch_samples=208,
                    num_heads=2, mlp_features=36), mesh,
    )
    assert specs["blocks.0.attn.proj.kernel"] == PartitionSpec("model", None)  # 104 x 104
    assert specs["blocks.0.mlp.fc1.kernel"] == PartitionSpec("model", None)  # 104 x 36
    assert specs["blocks.0.mlp.fc2.kernel"] == PartitionSpec(None, "model")  # 36 x 104
    assert specs["patch_embed.conv2.kernel"] == PartitionSpec()  # 3 x 4 x 4


def test_gradients_under_jit_are_those_of_one_device():
    config, shape = _CASES["labram"]
    encoder = mp.create("labram", rngs=nnx.Rngs(0), **config)
    signal = recipe.signal(0, shape)
    weights = recipe.signal(1, jax.eval_shape(_activations, encoder, signal).final.shape)
    mesh = _mesh(2, 4)

    @jax.jit
    def gradient(encoder: mp.Encoder, signal: jax.Array) -> nnx.State:
        return jax.grad(lambda e: jnp.sum(weights * e.activations(signal).final))(encoder)

    want = gradient(encoder, signal)
    placed = jax.device_put(signal, NamedSharding(mesh, PartitionSpec("batch")))
    found = gradient(mp.shard(encoder, mesh), placed)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(want))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


def test_meshes_that_do_not_fit_are_told():
    encoder = mp.abstract("labram", depth=1)
    with pytest.raises(mp.InputError, match="the axes batch, model and none called 'tensor'"):
        mp.partition_specs(encoder, _mesh(2, 4), axis="tensor")
    with pytest.raises(mp.InputError, match="leave placement to the compiler"):
        mp.shard(mp.create("labram", rngs=nnx.Rngs(0), depth=1),
                 jax.make_mesh((2, 4), ("batch", "model"), axis_types=(AxisType.Explicit,) * 2))
